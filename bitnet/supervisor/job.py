"""What waits for a slot, and what a slot costs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

BULKHEAD = "backend:"
"""A backend's own limit is a resource under this prefix, of which each of its jobs takes one."""


@dataclass(slots=True, eq=False)
class Job:
    """One attempt that waits or runs.

    Attributes:
        number: its place in the order of arrival.
        needs: what it takes while it runs, by resource.
        passed: how many younger jobs took what it waits for.
        waiter: resolved when the job is chosen; None where the caller did not have to wait.
    """

    number: int
    backend: str
    priority: float = 0.0
    needs: Mapping[str, float] = field(default_factory=dict)
    passed: int = 0
    started_at: float | None = None
    waiter: asyncio.Future[None] | None = None


@dataclass(slots=True)
class Usage:
    """What one backend waits for and has used, running jobs included."""

    settled: float = 0.0
    waiting: int = 0
    running: int = 0
    started_at_sum: float = 0.0
    typical: float = 1.0  # seconds a job takes, guessed until the first one ends
    ended: int = 0

    def start(self, now: float) -> None:
        """A job starts."""
        self.running += 1
        self.started_at_sum += now

    def end(self, started_at: float, now: float) -> None:
        """The job that started at `started_at` ends."""
        took = now - started_at
        self.running -= 1
        self.started_at_sum = self.started_at_sum - started_at if self.running else 0.0
        self.settled += took
        self.ended += 1
        # The mean of the first few, then one that forgets: lengths of prompts change over a day.
        self.typical += (took - self.typical) / min(self.ended, 8)

    def seconds(self, now: float) -> float:
        """Used until now."""
        return self.settled + self.running * now - self.started_at_sum

    def foreseen(self, now: float) -> float:
        """Used when the running jobs end, if they take as long as such jobs usually do."""
        return self.settled + max(self.running * self.typical, self.running * now - self.started_at_sum)
