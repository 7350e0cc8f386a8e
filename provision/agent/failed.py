"""Deploys that did not commit: the last ones, each with how it ended and why.

Apart from the history, by which ways back are found: nothing that is read here decides anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable, List, Mapping, Tuple

from ..contract.layout import Layout
from . import files, guard, launch
from .masks import Masks

if TYPE_CHECKING:
    from ..contract.records import Begun, Failed

_KEPT = 50
_LONGEST = 600  # characters of a reason


def note(
    layout: Layout,
    begun: Begun,
    channels: Mapping[str, str],
    outcome: str,
    why: str,
    secrets: Iterable[Tuple[str, str]] = (),
) -> None:
    """Write down how a transaction ended, once: who tries again to put it back changes nothing of that.

    Args:
        channels: name -> release, as it would have been.
        secrets: further ones that `why` may tell, besides those of the programs here.

    Raises:
        OSError: the disk does not take it.
    """
    there = read(layout)
    if any(each.get("transaction") == begun["transaction"] for each in there):
        return
    told = Masks([*secrets, *launch.every_secret(layout)]).message({"why": why})["why"]
    entry: Failed = {
        "kind": begun["kind"],
        "who": begun["who"],
        "time": int(begun["time"]),
        "transaction": begun["transaction"],
        "channels": dict(channels),
        "outcome": outcome,
        "why": told if len(told) <= _LONGEST else told[: _LONGEST - 1] + "…",
    }
    files.write_json(layout.failed, {"failed": [*there, entry][-_KEPT:]}, 0o600)


def read(layout: Layout) -> List[Failed]:
    """Oldest first."""
    found = guard.note(layout, layout.failed).get("failed")
    return found if isinstance(found, list) else []
