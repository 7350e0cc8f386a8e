"""The queue and the slots. Pure: every method is told the time, none waits.

A job starts only when the policy chooses it: the queue is scheduled, no semaphore is raced for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from bitnet.supervisor.job import BULKHEAD, Job, Usage
from bitnet.supervisor.policies import policy_named
from bitnet.supervisor.pool import Pool, lacking


class Scheduler:
    """Decides which waiting job starts.

    Args:
        policy: the name of the policy.
        slots: how many jobs run at once.
        limits: the resource pool, bulkheads included.
        weights: shares of the backends; 1 where none is given.

    Raises:
        InvalidInput: there is no such policy, or a limit is not a positive number.
    """

    def __init__(self, policy: str, slots: int, limits: Mapping[str, float], weights: Mapping[str, float]) -> None:
        self.pool = Pool(limits)
        self.usage: defaultdict[str, Usage] = defaultdict(Usage)
        self.running = 0
        self.waiting = 0
        self._slots = slots
        self._policy = policy_named(policy, self.usage, weights)

    def add(self, job: Job, now: float) -> None:
        """A job begins to wait."""
        self.waiting += 1
        self.usage[job.backend].waiting += 1
        self._policy.add(job, now)

    def discard(self, job: Job) -> None:
        """A waiting job goes away."""
        self.waiting -= 1
        self.usage[job.backend].waiting -= 1
        self._policy.discard(job)

    def next(self, now: float) -> Job | None:
        """Start the job whose turn it is, if one may start: its slot and its needs are taken."""
        if self.running >= self._slots or not self.waiting:
            return None
        spare = self.pool.free
        held_up: list[tuple[Job, list[str]]] = []

        def accept(job: Job) -> bool:
            nonlocal spare
            missing = lacking(job.needs, spare)
            if not missing:
                return True
            if all(name.startswith(BULKHEAD) for name in missing):
                return False  # its own backend is busy: nothing to keep from the others
            if job.passed < self._policy.patience:
                held_up.append((job, missing))
            else:
                # From here on its needs are kept for it: what comes after it must fit beside it.
                spare = {name: amount - job.needs.get(name, 0.0) for name, amount in spare.items()}
            return False

        job = self._policy.take(accept, now)
        if job is None:
            return None
        for other, missing in held_up:
            other.passed += not job.needs.keys().isdisjoint(missing)
        self._start(job, now)
        return job

    def _start(self, job: Job, now: float) -> None:
        self.waiting -= 1
        self.running += 1
        self.pool.take(job.needs)
        self.usage[job.backend].waiting -= 1
        self.usage[job.backend].start(now)
        job.started_at = now

    def end(self, job: Job, now: float) -> None:
        """A running job ended: its slot and all it took are free again."""
        assert job.started_at is not None  # noqa: S101 - only running jobs end
        self.running -= 1
        self.pool.give_back(job.needs)
        self.usage[job.backend].end(job.started_at, now)
