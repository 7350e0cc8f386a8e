"""The scheduler, with tasks that wait for it."""

from __future__ import annotations

import asyncio
import time

from bitnet.errors import QueueFull, RuntimeFailure
from bitnet.supervisor.job import Job
from bitnet.supervisor.result import BackendUse, Snapshot
from bitnet.supervisor.scheduler import Scheduler


class Slots:
    """Hands out slots in the order that the scheduler decides. No task of its own: whoever frees a slot passes it on.

    Args:
        scheduler: who decides.
        max_queue: how many jobs may wait; None for any number.
    """

    def __init__(self, scheduler: Scheduler, max_queue: int | None) -> None:
        self._scheduler = scheduler
        self._max_queue = max_queue
        self._waiting: dict[int, Job] = {}

    async def acquire(self, job: Job, *, again: bool) -> None:
        """Wait until `job` is chosen. Cancelling takes it out, wherever it is by then.

        Args:
            job: what wants to run.
            again: it was admitted before and comes back for another attempt, so the bound does not apply to it.

        Raises:
            ResourcesImpossible: it needs more than the pool has.
            QueueFull: `max_queue` jobs wait already.
        """
        self._scheduler.pool.check(job.needs)
        self._scheduler.add(job, time.monotonic())
        self._dispatch()
        if job.started_at is not None:
            return
        if self._max_queue is not None and not again and self._scheduler.waiting > self._max_queue:
            self._scheduler.discard(job)
            raise QueueFull(self._max_queue)
        job.waiter = asyncio.get_running_loop().create_future()
        self._waiting[job.number] = job
        try:
            await job.waiter
        except BaseException:
            if job.started_at is None:
                self._scheduler.discard(job)
                self._dispatch()  # what it held up may fit now
            else:
                self.release(job)
            raise
        finally:
            del self._waiting[job.number]

    def release(self, job: Job) -> None:
        """A started job ended: whoever is next may start."""
        self._scheduler.end(job, time.monotonic())
        self._dispatch()

    def refuse_waiting(self, error: RuntimeFailure) -> None:
        """Let everyone who waits fail with `error`."""
        for job in self._waiting.values():
            if job.waiter is not None and not job.waiter.done():
                job.waiter.set_exception(error)

    def snapshot(self) -> Snapshot:
        """How things stand."""
        now = time.monotonic()
        scheduler = self._scheduler
        usage = {name: BackendUse(use.waiting, use.running, use.seconds(now)) for name, use in scheduler.usage.items()}
        return Snapshot(scheduler.running, scheduler.waiting, dict(scheduler.pool.free), usage)

    def _dispatch(self) -> None:
        now = time.monotonic()
        while job := self._scheduler.next(now):
            if job.waiter is not None and not job.waiter.done():
                job.waiter.set_result(None)
