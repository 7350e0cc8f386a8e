"""What the guard of a rented machine has to say to whoever looks at the machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterator, Optional, cast

from ..contract import backup
from ..contract.layout import BUDGET_GUARD
from . import files

if TYPE_CHECKING:
    from ..contract.budget import Watched

_WARNED_AT = 0.8  # of its share
_SOON = 3600.0  # seconds


def warnings(now: float) -> Iterator[str]:
    """What whoever looks at the machine has to know: what is about to become of it, and that a backup failed."""
    yield from filter(None, (_of_budget(now), _of_backup(now)))


def _of_backup(now: float) -> str:
    try:
        seen = cast("Optional[backup.Seen]", files.read_json(backup.SEEN))
    except (OSError, ValueError):
        return ""  # it is for root alone
    wrong = backup.trouble(seen, now) if seen else ""
    return f"of this rented machine {wrong}; next: deploy machine backup" if wrong else ""


def _of_budget(now: float) -> str:
    try:
        watched = cast("Optional[Watched]", files.read_json(os.path.join(BUDGET_GUARD, "watched.json")))
    except (OSError, ValueError):
        return ""  # it is for root alone
    if not watched:
        return ""
    if watched["doing"]:
        said = "; the provider says {}".format(watched["said"]) if watched["said"] else ""
        return "the guard of this rented machine is about to {} it: {}{}".format(watched["doing"], watched["why"], said)
    left = watched["ends"] - now
    if watched["spent"] >= _WARNED_AT * watched["share"]:
        what = "has cost ${:.2f} of its ${:.2f}, at which it is destroyed".format(watched["spent"], watched["share"])
    elif left < _SOON:
        what = f"ends in {max(left, 0) / 60:.0f} minutes"
    else:
        return ""
    return f"this rented machine {what}; next: deploy machine renew"
