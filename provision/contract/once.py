"""Commands that run once a release, on one host of a target: which of them has to run now. Pure.

Whether a command that was cut off has done its work is known to nobody here. So it is not run again by itself, unless
what undoes it has run: somebody has to say whether it is done or is to run again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, List, Mapping, NamedTuple, Optional, Sequence

from .failure import REFUSED, Failure

if TYPE_CHECKING:
    from .records import OnceRecord
    from .release import OnceDocument

RUN, NOTE, KEEP = "run", "note", "keep"

DONE = "done"
FAILED = "failed"  # it ended by itself, with another status than 0
CUT = "cut"  # it was ended, or whoever ran it was: how far it got is not known
UNDONE = "undone"
NOT_UNDONE = "not undone"  # what undoes it failed
UNDO_CUT = "undo cut"
_UNKNOWN = {
    CUT: "was cut off in the middle",
    NOT_UNDONE: "ran, and what undoes it failed",
    UNDO_CUT: "ran, and what undoes it was cut off in the middle",
}


class Decided(NamedTuple):
    """What happens to one command."""

    name: str
    do: str  # RUN, NOTE (it is written down as done), KEEP (it has run)
    why: str


def decide(
    declared: Mapping[str, OnceDocument],
    records: Sequence[OnceRecord],
    release: str,
    *,
    runner: str = "",
    again: Sequence[str] = (),
    done: Sequence[str] = (),
) -> List[Decided]:
    """What happens to each command of `release`.

    Args:
        records: oldest first.
        runner: the host that runs them, where it is another one.
        again: those to run although they have run.
        done: those that somebody knows to be done.

    Raises:
        Failure: nobody knows whether one of them is done.
    """
    return [_decide(name, records, release, runner, again, done) for name in declared]


def _decide(
    name: str, records: Sequence[OnceRecord], release: str, runner: str, again: Sequence[str], done: Sequence[str]
) -> Decided:
    own = _last(name, records)
    last = _last(name, [record for record in records if record["release"] == release])
    if name in done:
        return Decided(name, NOTE, "as you say, it is done")
    if name in again and not runner:
        return Decided(name, RUN, "again, as you say")
    if own and own["outcome"] in _UNKNOWN:
        why = f" {own['why'][:1].upper()}{own['why'][1:]}" if own["why"] else ""
        raise Failure(
            REFUSED,
            f"once.{name} {_UNKNOWN[own['outcome']]} on {_day(own)}, for release {own['release'][:12]}.",
            why=f"So nobody knows whether it is done.{why}",
            next_step=f"look, then: deploy up --done {name}, if it is done; or deploy up --again {name}, to run it",
        )
    if last and last["outcome"] == DONE:
        return Decided(name, KEEP, f"ran on {_day(last)}" + (f", on {last['host']}" if last.get("host") else ""))
    if runner:
        return Decided(name, NOTE, f"runs on {runner}, the first host")
    return Decided(name, RUN, "once for this release, before any program changes")


def _last(name: str, records: Sequence[OnceRecord]) -> Optional[OnceRecord]:
    return next((record for record in reversed(records) if record["name"] == name), None)


def _day(record: OnceRecord) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(record["time"]))
