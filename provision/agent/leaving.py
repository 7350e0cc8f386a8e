"""Programs that take no new request, and end when they have answered those that they had begun."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable, List, Mapping, NamedTuple, Sequence

from ..contract.layout import Layout
from ..contract.state import Program
from . import traffic

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument

_POLL = 0.05
_NEWS_SECONDS = 5.0  # between two words on what is still waited for


class Leaving(NamedTuple):
    """A program that takes no new request, and ends when its last one has."""

    service: str
    program: str
    seconds: float  # it may take


def leaving(documents: Mapping[str, ReleaseDocument], programs: Mapping[str, Program]) -> List[Leaving]:
    """Those of `programs` to which requests come through what stands before them."""
    found = []
    for name, record in programs.items():
        document = documents.get(record.release)
        declared = document.get("traffic") if document else None
        if declared and record.service in declared["services"]:
            found.append(Leaving(record.service, name, declared["services"][record.service]["drain"]))
    return found


def drained(
    layout: Layout,
    those: Sequence[Leaving],
    tell: Callable[[str, str, str], None],
    interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Wait until they have answered what they had begun, at most as long as each may take.

    Args:
        tell: what is being waited for.
        interrupt: called now and then; may raise.
    """
    if not those:
        return
    from .front.master import Silent

    asked, began, news = traffic.runtime(layout), time.monotonic(), 0.0
    left = list(those)
    while left:
        interrupt()
        waited = time.monotonic() - began
        try:
            counted = asked.counted()
        except Silent:
            return  # what it had begun has ended with it
        sessions = [(each, counted.get(each.service, {}).get(each.program)) for each in left if waited <= each.seconds]
        left = [each for each, counts in sessions if counts is not None and counts.sessions]
        if left and waited >= news:
            news = waited + _NEWS_SECONDS
            for each, counts in sessions:
                if counts is not None and counts.sessions:
                    most = each.seconds - waited
                    tell("drain", each.program, f"{counts.sessions} of its requests left, for {most:.0f} s at most")
        time.sleep(_POLL if left else 0)
