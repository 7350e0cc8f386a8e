"""How long a step goes on, by a clock that nobody sets.

A host's wall clock may be set while a step goes on: by its first answer from a time server after boot, or by hand. An
hour forward would end the step, and an hour back would keep it for that long. So the step's time is counted by
CLOCK_MONOTONIC, which goes on while the host runs, and is written down with what was seen: after a reboot it goes on
from there, as nobody was served meanwhile. When a request came HAProxy says by the wall clock, so that is compared with
the step's beginning as the wall clock has it now.
"""

from __future__ import annotations

import time
from typing import Callable, Optional, TypedDict

from ...contract import rollout
from ...contract.rollout import RolloutRecord
from ..booted import boot_id


class ClockDocument(TypedDict):
    """As of when it was written."""

    boot: str
    at: float
    began: float
    spent: float
    runs: bool


def _steady() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class StepClock:
    """That of one step."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = _steady,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self._wall, self._steady = wall, steady
        self._boot = boot()
        self._at = self._began = self._spent = 0.0
        self._runs = False

    def start(self, record: RolloutRecord, kept: Optional[ClockDocument]) -> None:
        """Be that of the step that `record` is at, of which somebody may have written down how far it was."""
        self._at = self._steady()
        self._runs = False
        if kept is None:  # it begins, or an earlier version judged it, which went by the wall clock
            self._spent = rollout.seconds(record, self._wall())
            self._began = self._at - max(0.0, self._wall() - record["began"])
        elif kept["boot"] == self._boot:
            self._spent = kept["spent"] + (max(0.0, self._at - kept["at"]) if kept["runs"] else 0.0)
            self._began = kept["began"]
        else:  # whatever is served now came after it began
            self._spent, self._began = kept["spent"], float("-inf")

    def run(self, runs: bool) -> None:
        """Go on, or stand still."""
        self._tick()
        self._runs = runs

    def _tick(self) -> None:
        now = self._steady()
        self._spent += now - self._at if self._runs else 0.0
        self._at = now

    @property
    def seconds(self) -> float:
        """How long the step has gone on."""
        self._tick()
        return self._spent

    def has_begun_at(self, wall: float) -> bool:
        """Whether the step had begun when the wall clock, as it is set now, said that."""
        return wall >= self._wall() - (self._steady() - self._began)

    def as_dict(self) -> ClockDocument:
        self._tick()
        began = max(self._began, -1e9)  # JSON has no infinity
        return {"boot": self._boot, "at": self._at, "began": began, "spent": self._spent, "runs": self._runs}
