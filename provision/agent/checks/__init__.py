"""Probes that must pass, one module a kind: http, tcp, command, completion, batch, gpu, bench.

Run on the host inside a transaction, and from a laptop through a tunnel by `deploy smoke`; the same code, so that both
mean the same. A check passes when it has passed `passes` times in a row before its time is up: one lucky answer of a
process that is about to die is no proof. How each kind is declared: `provision.project.checks`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, NamedTuple, Optional, Tuple

from . import batch, bench, command, completion, gpu, http, tcp
from .check import Failed, Final

if TYPE_CHECKING:
    from ...contract.checks import CheckDocument
    from ...contract.events import Checked, Facts
    from .check import Reach

# A document of a kind goes to the probe of that kind: no type can say so. Nor that a bench streams, and is asked from a
# host alone.
PROBES: Mapping[str, Callable[[Any, Any, float], Facts]] = {
    "http": http.attempt,
    "tcp": tcp.attempt,
    "command": command.attempt,
    "completion": completion.attempt,
    "batch": batch.attempt,
    "gpu": gpu.attempt,
    "bench": bench.attempt,
}


class Outcome(NamedTuple):
    """What became of one check.

    `attempts` holds each different answer with how often it came in a row, in order: `("HTTP 503 Loading model", 58)`.
    """

    name: str
    passed: bool
    seconds: float
    attempts: Tuple[Tuple[str, int], ...] = ()
    facts: Facts = {}
    since: float = 0.0  # by time.monotonic, the first of the attempts in a row by which it passed

    @property
    def sentence(self) -> str:
        if self.passed:
            return f"{self.name} passed in {self.seconds:.1f} s"
        tries = ", ".join(text if count == 1 else f"{text}, {count} times" for text, count in self.attempts[-3:])
        return f"{self.name} did not pass in {self.seconds:.0f} s ({tries or 'never tried'})"


def is_asked(check: CheckDocument) -> bool:
    """Whether it is asked wherever a program is proven: a bench is where a transaction says in which form."""
    return check["kind"] != "bench" or "form" in check


def event(outcome: Outcome, program: str) -> Checked:
    """The event that tells of an outcome."""
    return {
        "event": "check",
        "program": program,
        "check": outcome.name,
        "passed": outcome.passed,
        "seconds": round(outcome.seconds, 3),
        "attempts": list(outcome.attempts),
        "facts": outcome.facts,
    }


def prove(check: CheckDocument, reach: Reach, watch: Optional[Callable[[], None]] = None) -> Outcome:
    """Repeat `check` until it passed often enough in a row, or its time is up.

    `watch` is called before each attempt and may raise to stop early (the process died, Ctrl-C).
    """
    began = time.monotonic()
    deadline = began + check["timeout"]
    attempts: List[Tuple[str, int]] = []
    facts: Facts = {}
    row, since = 0, 0.0
    pause = 0.02  # services are often up sooner than `interval`; grow towards it
    while True:
        if watch is not None:
            watch()
        left = deadline - time.monotonic()
        if left <= 0:
            return Outcome(check["name"], False, time.monotonic() - began, tuple(attempts), facts)
        try:
            facts = PROBES[check["kind"]](check, reach, min(check["attempt_timeout"], max(left, 0.1)))
            row += 1
            since = since if row > 1 else time.monotonic()
            text = "passed"
        except Final as failure:
            attempts.append((str(failure), 1))
            return Outcome(check["name"], False, time.monotonic() - began, tuple(attempts), failure.facts)
        except Failed as failure:
            row = 0
            text = str(failure)
        if attempts and attempts[-1][0] == text:
            attempts[-1] = (text, attempts[-1][1] + 1)
        else:
            attempts.append((text, 1))
        if row >= check["passes"]:
            return Outcome(check["name"], True, time.monotonic() - began, tuple(attempts), facts, since)
        time.sleep(min(check["interval"], pause))
        pause *= 1.5
