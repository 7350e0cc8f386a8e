"""One attempt: wait for a slot, start, watch, tell how it went, give everything back."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from bitnet import process
from bitnet.breaker import CircuitBreaker
from bitnet.child import Child
from bitnet.errors import LaunchFailed, RuntimeTimeoutError, SupervisorClosed
from bitnet.process import Finished
from bitnet.supervisor.job import BULKHEAD, Job
from bitnet.supervisor.lifetime import Lifetime, closed
from bitnet.supervisor.options import BackendPolicy, JobOptions
from bitnet.supervisor.result import LaunchResult, StreamEvent
from bitnet.supervisor.slots import Slots
from bitnet.telemetry import Telemetry


class _HasEnvironment(Protocol):
    @property
    def environment(self) -> Mapping[str, str]: ...


Count = Callable[[str, str, float], None]
"""Told of each launch that ended: its backend, its outcome, and how many seconds it took."""


@dataclass(slots=True)
class Tally:
    """How often a job was started."""

    started: int = 0


class Attempts:
    """Runs attempts for a supervisor.

    Args:
        runtime: whose environment programs get, on top of this process's own.
        policies: of the backends.
        slots: who may run.
        lifetime: ends programs when the supervisor ends.
        tell: telemetry.
        count: told of each launch that ended; a backend without a policy of its own is `other` to it.
        grace: seconds between SIGTERM and SIGKILL.
        capture_bytes: how much of each stream is kept.
    """

    def __init__(
        self,
        runtime: _HasEnvironment,
        policies: Mapping[str, BackendPolicy],
        slots: Slots,
        lifetime: Lifetime,
        tell: Telemetry,
        count: Count,
        *,
        grace: float,
        capture_bytes: int,
    ) -> None:
        self._runtime = runtime
        self._slots = slots
        self._lifetime = lifetime
        self._tell = tell
        self._count = count
        self._known = frozenset(policies)
        self._grace = grace
        self._capture_bytes = capture_bytes
        self._numbers = itertools.count(1)
        self._bulkheads = {name for name, policy in policies.items() if policy.limit}
        self._breakers = {
            name: CircuitBreaker(name, policy.breaker) for name, policy in policies.items() if policy.breaker
        }

    async def run(
        self, command: Sequence[str], wanted: JobOptions, tally: Tally, *, guarded: bool = True
    ) -> LaunchResult:
        """Run it once.

        Args:
            command: the argument list.
            wanted: the job's options.
            tally: of this job; only its first attempt may be turned away because the queue is full.
            guarded: whether the backend's circuit breaker has a say; not for a fallback.

        Raises: as `RuntimeSupervisor.run_custom`.
        """
        breaker = self._breakers.get(wanted.backend) if guarded else None
        job = await self._slot(wanted, breaker, again=tally.started > 0)
        with self._held(job, command, wanted, breaker, tally) as (born, record):
            return record(await process.run(command, on_child=born, **self._arguments(wanted)))

    async def stream(self, command: Sequence[str], wanted: JobOptions) -> AsyncGenerator[StreamEvent, None]:
        """Run it once, line by line."""
        breaker = self._breakers.get(wanted.backend)
        job = await self._slot(wanted, breaker, again=False)
        with self._held(job, command, wanted, breaker, Tally()) as (born, record):
            lines = process.stream(command, on_child=born, **self._arguments(wanted))
            async with aclosing(lines):
                yield StreamEvent("started")
                async for item in lines:
                    if isinstance(item, Finished):
                        yield StreamEvent("completed", result=record(item))
                    else:
                        yield StreamEvent(item.source, item.text)

    async def _slot(self, wanted: JobOptions, breaker: CircuitBreaker | None, *, again: bool) -> Job:
        if breaker:
            breaker.check(time.monotonic())  # no waiting for what would then be refused
        needs = dict(wanted.resources)
        if wanted.backend in self._bulkheads:
            needs[BULKHEAD + wanted.backend] = 1.0
        job = Job(next(self._numbers), wanted.backend, wanted.priority, needs)
        await self._slots.acquire(job, again=again)
        return job

    @contextmanager
    def _held(
        self, job: Job, command: Sequence[str], wanted: JobOptions, breaker: CircuitBreaker | None, tally: Tally
    ) -> Iterator[tuple[Callable[[Child], None], Callable[[Finished], LaunchResult]]]:
        """Around a running program: whatever happens, the slot comes back and the breaker hears of it."""
        facts = {**wanted.metadata, "job": job.number, "backend": job.backend, "attempt": tally.started + 1}
        went_well: bool | None = None  # None: it says nothing about the backend
        outcome, began = "interrupted", time.monotonic()

        def record(finished: Finished) -> LaunchResult:
            nonlocal went_well, outcome
            if finished.ended:
                raise closed(f"ended {finished.command[0]} before it finished")
            went_well = finished.returncode == 0
            outcome = "ok" if went_well else "failed"
            self._tell("launch.finished", returncode=finished.returncode, duration=finished.duration, **facts)
            return _result(finished, wanted, tally.started)

        try:
            if breaker:
                breaker.admit(time.monotonic())
            tally.started += 1
            try:
                # Only the program's name: arguments hold prompts.
                self._tell("launch.started", program=str(command[0]) if command else "", **facts)
                with self._lifetime.children() as born:
                    yield born, record
            except (LaunchFailed, RuntimeTimeoutError) as error:
                went_well = False
                outcome = "timeout" if isinstance(error, RuntimeTimeoutError) else "failed"
                self._tell("launch.failed", failure=error.what, **facts)
                raise
            except (asyncio.CancelledError, GeneratorExit, SupervisorClosed):
                self._tell("launch.ended", **facts)
                raise
            finally:
                # A name that a caller made up must not become a series of its own.
                known = job.backend if job.backend in self._known else "other"
                self._count(known, outcome, time.monotonic() - began)
                if breaker:
                    self._judge(breaker, went_well)
        finally:
            self._slots.release(job)

    def _judge(self, breaker: CircuitBreaker, went_well: bool | None) -> None:
        if went_well is None:
            breaker.forget()
        elif went_well:
            breaker.succeed()
        elif breaker.fail(time.monotonic()):
            self._tell("breaker.opened", backend=breaker.name, cool_down=breaker.policy.cool_down)

    def _arguments(self, wanted: JobOptions) -> dict[str, Any]:
        env = None
        if self._runtime.environment or wanted.env:
            env = {**os.environ, **self._runtime.environment, **wanted.env}
        return {
            "env": env,
            "cwd": wanted.cwd,
            "timeout": wanted.timeout,
            "grace": self._grace,
            "capture_bytes": self._capture_bytes,
        }


def _result(finished: Finished, wanted: JobOptions, attempts: int) -> LaunchResult:
    return LaunchResult(
        command=finished.command,
        returncode=finished.returncode,
        stdout=finished.stdout,
        stderr=finished.stderr,
        started_at=finished.started_at,
        completed_at=finished.completed_at,
        duration=finished.duration,
        backend=wanted.backend,
        attempts=attempts,
        stdout_cut=finished.stdout_cut,
        stderr_cut=finished.stderr_cut,
        metadata=wanted.metadata,
    )
