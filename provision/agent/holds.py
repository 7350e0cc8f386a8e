"""What requests waited for while one program took another's very place: the drain of the old one, its stop, the load of
the new one, its proof.

Each moment between a hold's beginning and its end is of one of these. On the way back that goes on: who fails to load
is stopped as well, and the old one loads.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Dict, Iterable, Optional

if TYPE_CHECKING:
    from ..contract.events import Held
    from .front.values import Crowd

DRAIN, STOP, LOAD, PROOF = "drain", "stop", "load", "proof"


class _Hold:
    def __init__(self, service: str, before: Crowd) -> None:
        self.service = service
        self.before = before
        self.spent = dict.fromkeys((DRAIN, STOP, LOAD, PROOF), 0.0)
        self._part, self._since = DRAIN, time.monotonic()

    def goes_on(self, part: str, now: float) -> None:
        self.spent[self._part] += max(0.0, now - self._since)
        self._part, self._since = part, now


class Holds:
    """Of one transaction, on its way forward and back. One program may be held at a time, or several."""

    def __init__(self) -> None:
        self._open: Dict[str, _Hold] = {}
        self._ended: Dict[str, Held] = {}

    def begin(self, program: str, service: str, before: Crowd) -> None:
        """From now on requests wait for whoever is in that program's place."""
        self._open.setdefault(program, _Hold(service, before))

    def go_on(self, programs: Iterable[str], part: str, when: Optional[float] = None) -> None:
        """By now, or at `when` of `time.monotonic`, something else is waited for."""
        for name in programs:
            if name in self._open:
                self._open[name].goes_on(part, time.monotonic() if when is None else when)

    @property
    def open(self) -> Dict[str, str]:
        """Program that is held for -> its service."""
        return {name: hold.service for name, hold in self._open.items()}

    def end(self, program: str, waited: int, after: Crowd) -> Held:
        """Requests have gone on to whoever serves now.

        Args:
            waited: how many did to the end.
        """
        hold = self._open.pop(program)
        hold.goes_on(DRAIN, time.monotonic())
        spent = {part: round(seconds, 3) for part, seconds in hold.spent.items()}
        self._ended[program] = {
            "drain": spent[DRAIN],
            "stop": spent[STOP],
            "load": spent[LOAD],
            "proof": spent[PROOF],
            "requests": waited,
            "beyond": _since(hold.before.beyond, after.beyond),
            "late": _since(hold.before.late, after.late),
        }
        return self._ended[program]

    def told(self) -> Dict[str, Held]:
        """By program, those that have ended."""
        return dict(self._ended)


def _since(before: int, after: int) -> int:
    """What was counted meanwhile; a HAProxy that died has begun anew."""
    return after - before if after >= before else after
