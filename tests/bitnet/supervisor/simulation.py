"""A scheduler with a clock of its own: hours of launches in milliseconds."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bitnet.supervisor.job import BULKHEAD, Job
from bitnet.supervisor.scheduler import Scheduler


@dataclass(frozen=True)
class Work:
    """A job to be simulated: who, how long, when it comes, what it takes."""

    backend: str = "a"
    length: float = 1.0
    at: float = 0.0
    priority: float = 0.0
    needs: tuple[tuple[str, float], ...] = ()
    name: str = ""


class Simulation:
    """Runs works through a scheduler; `order` holds them as they started, with the time."""

    def __init__(
        self,
        policy: str,
        slots: int,
        *,
        limits: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.scheduler = Scheduler(policy, slots, limits or {}, weights or {})
        self.limits = dict(limits or {})
        self.order: list[tuple[float, Work]] = []
        self.now = 0.0
        self._numbers = itertools.count()

    def run(self, works: Iterable[Work], until: float = float("inf")) -> list[str]:
        """Run to the end, or to a time; the names in the order of their starts."""
        arrivals = sorted(works, key=lambda work: work.at)
        running: list[tuple[float, int, Job]] = []
        by_job: dict[Job, Work] = {}
        while arrivals or running or self.scheduler.waiting:
            times = [arrivals[0].at] if arrivals else []
            times += [running[0][0]] if running else []
            assert times, "jobs wait, nothing runs and nothing comes: a deadlock"
            if min(times) > until:
                self.now = until
                break
            self.now = min(times)
            while arrivals and arrivals[0].at <= self.now:
                work = arrivals.pop(0)
                needs = dict(work.needs)
                if BULKHEAD + work.backend in self.limits:
                    needs[BULKHEAD + work.backend] = 1.0
                job = Job(next(self._numbers), work.backend, work.priority, needs)
                by_job[job] = work
                self.scheduler.add(job, self.now)
            while running and running[0][0] <= self.now:
                self.scheduler.end(heapq.heappop(running)[2], self.now)
            while job_or_none := self.scheduler.next(self.now):
                work = by_job[job_or_none]
                self.order.append((self.now, work))
                heapq.heappush(running, (self.now + work.length, job_or_none.number, job_or_none))
            assert all(amount >= -1e-9 for amount in self.scheduler.pool.free.values())
            assert len(running) == self.scheduler.running
        return [work.name for _, work in self.order]

    def run_saturated(self, lengths: Mapping[str, Callable[[], float]], until: float) -> None:
        """Run for some time with backends that always have something waiting."""
        running: list[tuple[float, int, Job]] = []

        def come(backend: str) -> None:
            self.scheduler.add(Job(next(self._numbers), backend), self.now)

        for backend in [*lengths] * 2:
            come(backend)
        while self.now < until:
            while job := self.scheduler.next(self.now):
                heapq.heappush(running, (self.now + lengths[job.backend](), job.number, job))
                come(job.backend)
            self.now, _, ended = heapq.heappop(running)
            self.scheduler.end(ended, self.now)

    def seconds(self) -> dict[str, float]:
        """Slot-seconds by backend, up to now."""
        return {name: use.seconds(self.now) for name, use in self.scheduler.usage.items()}

    def started(self) -> dict[str, int]:
        """How many jobs of each backend started."""
        counts: defaultdict[str, int] = defaultdict(int)
        for _, work in self.order:
            counts[work.backend] += 1
        return counts
