"""How long nobody answered at a port: from the stop of who had it to the first answer of who has it then.

What users of a service met, where nothing stands in front of it. A program that runs beside the old one, on ports of
its own, costs only the moment in which the port changes hands.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Dict, Iterable, Sequence, Set

from ..contract import held
from .holds import LOAD, PROOF, STOP, Holds

if TYPE_CHECKING:
    from ..contract.release import ServiceDocument


class Waits:
    """Counted for the programs of one transaction, on the way forward and back."""

    def __init__(self) -> None:
        self._ports: Dict[str, Set[int]] = {}
        self._closed: Dict[int, float] = {}
        self._waited: Dict[int, float] = {}
        self._one = threading.Lock()  # programs are proven side by side
        self.holds = Holds()

    def know(self, services: Iterable[ServiceDocument]) -> None:
        """At which ports programs answer, of the old release and of the new one."""
        for service in services:
            self._ports.setdefault(service["program"], set()).update(service["ports"])

    def closed(self, programs: Sequence[str]) -> None:
        """They ran, and are being stopped now."""
        now = time.monotonic()
        with self._one:
            for port in (port for name in programs for port in self._ports.get(name, ())):
                self._closed.setdefault(port, now)
            self.holds.go_on(programs, STOP, now)

    def ended(self, programs: Iterable[str]) -> None:
        """They have stopped: what comes next in their place is waited for."""
        with self._one:
            self.holds.go_on(programs, LOAD)

    def answered(self, program: str, when: float) -> None:
        """It answered first at that moment, by `time.monotonic`."""
        with self._one:
            self.holds.go_on([program], PROOF, when)
            for port in self._ports.get(program, ()):
                if port in self._closed:
                    self._waited[port] = self._waited.get(port, 0.0) + max(0.0, when - self._closed.pop(port))

    def told(self) -> Dict[str, float]:
        """Seconds by program, of those at whose ports somebody had to wait."""
        waited = {
            name: max((self._waited.get(port, 0.0) for port in ports), default=0.0)
            for name, ports in self._ports.items()
        }
        return {
            **{name: round(seconds, 3) for name, seconds in waited.items() if seconds},
            **{name: held.seconds(each) for name, each in self.holds.told().items()},
        }
