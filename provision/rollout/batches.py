"""Which hosts go together. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypeVar

from provision.errors import UsageError

Item = TypeVar("Item")


def batches(items: Sequence[Item], canary: int, batch: str | int) -> list[list[Item]]:
    """`canary` items first, then the rest in groups of `batch`: a number, or a share of all such as "25%".

    Raises:
        UsageError: `batch` is neither.
    """
    size = batch_size(len(items), batch)
    first = list(items[:canary]) if 0 < canary < len(items) else []
    rest = items[len(first) :]
    return [*([first] if first else []), *(list(rest[at : at + size]) for at in range(0, len(rest), size))]


def batch_size(count: int, batch: str | int) -> int:
    share = re.fullmatch(r"(\d{1,3})%", str(batch))
    if share and 0 < int(share[1]) <= 100:
        return max(1, math.ceil(count * int(share[1]) / 100))
    if str(batch).isdecimal() and int(batch) > 0:
        return int(batch)
    raise UsageError(f"rollout.batch is {batch!r}", why='expected a number of hosts, or a share such as "25%"')
