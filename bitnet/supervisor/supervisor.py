"""`RuntimeSupervisor`: many launches, bounded, scheduled and observed."""

from __future__ import annotations

import asyncio
import inspect
import math
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import fields, replace
from types import TracebackType
from typing import Any, Protocol

from bitnet import process, tracing
from bitnet.capture import CAPTURE_BYTES
from bitnet.errors import CircuitOpen, InvalidInput, LaunchFailed, RuntimeFailure, RuntimeTimeoutError
from bitnet.supervisor.attempt import Attempts, Tally
from bitnet.supervisor.job import BULKHEAD
from bitnet.supervisor.lifetime import Lifetime
from bitnet.supervisor.options import DEFAULT_BACKENDS, BackendPolicy, JobOptions
from bitnet.supervisor.result import LaunchResult, Snapshot, StreamEvent
from bitnet.supervisor.scheduler import Scheduler
from bitnet.supervisor.slots import Slots
from bitnet.telemetry import Sink, Telemetry

_OPTIONS = frozenset(option.name for option in fields(JobOptions))


class Runtime(Protocol):
    """What a supervisor needs of a runtime; `BitNetRuntime` is one.

    `run_inference` and `run_server` are called with `dry_run=True` and return an argument list, or a coroutine that
    does. `environment` is added to this process's own. One that has `count_launch` counts what the supervisor launches.
    """

    @property
    def cpu_count(self) -> int: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def run_inference(self) -> Callable[..., Any]: ...
    @property
    def run_server(self) -> Callable[..., Any]: ...


class RuntimeSupervisor:
    """Runs many programs, at most `concurrency` at a time, in the order that a policy chooses.

    Usable at once; `async with` also shuts it down in the end, and so does `aclose`.

    Args:
        runtime: what builds the argument lists of models.
        concurrency: how many run at once; None for the runtime's `cpu_count`.
        scheduling_policy: `weighted-fair`, `priority` or `resource-aware`.
        resource_limits: the pool that jobs take `resources` from, under every policy.
        backends: weights, limits and breakers by name; other names get `BackendPolicy()`.
        backend_weights: weights alone by name, for who needs no more: `{"a": 3, "b": 1}`.
        max_queue: how many jobs may wait; None for any number.
        capture_bytes: how much of each job's stdout, and of its stderr, is kept.
        grace: seconds between SIGTERM and SIGKILL.
        drain: seconds that `aclose` lets jobs finish by themselves.
        backoff: seconds before the first retry; doubled each time, with up to as much again by chance.
        backoff_limit: no pause is longer.
        telemetry: sinks of events.

    Raises:
        InvalidInput: a value out of range, or a policy that does not exist.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        concurrency: int | None = None,
        scheduling_policy: str = "weighted-fair",
        resource_limits: Mapping[str, float] | None = None,
        backends: Mapping[str, BackendPolicy] | None = None,
        backend_weights: Mapping[str, float] | None = None,
        max_queue: int | None = None,
        capture_bytes: int = CAPTURE_BYTES,
        grace: float = process.GRACE_SECONDS,
        drain: float = 30.0,
        backoff: float = 0.5,
        backoff_limit: float = 30.0,
        telemetry: Iterable[Sink] = (),
    ) -> None:
        self.runtime = runtime
        self.concurrency = runtime.cpu_count if concurrency is None else concurrency
        _at_least(1, concurrency=self.concurrency)
        _at_least(0, max_queue=max_queue or 0, capture_bytes=capture_bytes, grace=grace, drain=drain)
        _at_least(0, backoff=backoff, backoff_limit=backoff_limit)
        self.backends: Mapping[str, BackendPolicy] = {
            **DEFAULT_BACKENDS,
            **(backends or {}),
            **_weighted(backend_weights or {}, backends or {}),
        }
        bulkheads = {f"{BULKHEAD}{name}": float(policy.limit) for name, policy in self.backends.items() if policy.limit}
        weights = {name: policy.weight for name, policy in self.backends.items()}
        limits = {**(resource_limits or {}), **bulkheads}
        self._drain = drain
        self._backoff = backoff
        self._backoff_limit = backoff_limit
        self._tell = Telemetry(telemetry)
        self._lifetime = Lifetime()
        self._slots = Slots(Scheduler(scheduling_policy, self.concurrency, limits, weights), max_queue)
        self._attempts = Attempts(
            runtime,
            self.backends,
            self._slots,
            self._lifetime,
            self._tell,
            getattr(runtime, "count_launch", lambda *_: None),
            grace=grace,
            capture_bytes=capture_bytes,
        )

    async def run_inference(self, **options: Any) -> LaunchResult:
        """Let the runtime answer a prompt. Takes its arguments and those of `JobOptions`, as keywords.

        Raises: as `run_custom`, and whatever the runtime says about its arguments.
        """
        return await self.run_custom(**await _built(self.runtime.run_inference, "inference", options))

    async def run_server(self, **options: Any) -> LaunchResult:
        """Let the runtime serve a model until it ends or is cancelled. Arguments and errors as `run_inference`."""
        return await self.run_custom(**await _built(self.runtime.run_server, "server", options))

    async def run_custom(self, command: Sequence[str], **options: Any) -> LaunchResult:
        """Run any program. Takes the arguments of `JobOptions` as keywords.

        A status that is not 0 is a result like any other, unless `check=True`. Cancelling the awaiting task takes
        the job out of the queue, or ends its whole process group.

        Raises:
            InvalidInput: the command or an option cannot be used.
            ResourcesImpossible: it needs more than the pool has.
            QueueFull: `max_queue` jobs wait already.
            CircuitOpen: its backend kept failing and is left alone for now.
            LaunchFailed: it could not be started; with `check`, its status was not 0.
            RuntimeTimeoutError: it was ended at its deadline.
            SupervisorClosed: the supervisor shuts down.
        """
        wanted = JobOptions(**options)
        with (
            self._lifetime,
            tracing.span("bitnet.launch", parent=wanted.trace, backend=wanted.backend) as span,
        ):
            failure: RuntimeFailure
            tally = Tally()
            try:
                result = await self._tried(command, wanted, tally)
            except (CircuitOpen, LaunchFailed, RuntimeTimeoutError) as error:
                failure = error
            else:
                span.note(returncode=result.returncode, attempts=result.attempts)
                if result.returncode == 0 or not (wanted.check or wanted.fallback):
                    return result
                failure = _status(result)
            if wanted.fallback is None:
                raise failure
            result = await self._fallen_back(wanted, failure, tally)
            span.note(returncode=result.returncode, fallback=True)
            return result

    async def stream(self, command: Sequence[str], **options: Any) -> AsyncGenerator[StreamEvent, None]:
        """Run any program and yield its lines as they arrive, then its result.

        Options and errors are those of `run_custom`, but `retries` and `fallback` are refused. Leaving the loop early
        ends the program; `contextlib.aclosing` makes that happen at once.
        """
        wanted = JobOptions(**options)
        if wanted.retries or wanted.fallback:
            raise InvalidInput(
                "a stream takes neither retries= nor fallback=",
                why="lines that were handed out cannot be taken back",
                next_step="use run_custom, or start the stream anew",
            )
        with (
            self._lifetime,
            tracing.span("bitnet.launch", parent=wanted.trace, backend=wanted.backend) as span,
        ):
            async with aclosing(self._attempts.stream(command, wanted)) as events:
                async for event in events:
                    if event.result is not None:
                        span.note(returncode=event.result.returncode)
                        if wanted.check and event.result.returncode != 0:
                            raise _status(event.result)
                    yield event

    async def stream_inference(self, **options: Any) -> AsyncGenerator[StreamEvent, None]:
        """`stream` for what `run_inference` does."""
        arguments = await _built(self.runtime.run_inference, "inference", options)
        async with aclosing(self.stream(**arguments)) as events:
            async for event in events:
                yield event

    def snapshot(self) -> Snapshot:
        """How many jobs run and wait, what is left of each resource, and what each backend used."""
        return self._slots.snapshot()

    async def aclose(self, drain: float | None = None) -> None:
        """Shut down: take no more jobs, let those that are here finish for `drain` seconds, then end them.

        Returns when no job is left. Waiting jobs that did not start, and running ones that were ended, fail with
        `SupervisorClosed`. Closing again, with a shorter `drain`, is fine.
        """
        self._tell("supervisor.closing", running=self.snapshot().running, waiting=self.snapshot().waiting)
        await self._lifetime.close(self._drain if drain is None else drain, self._slots.refuse_waiting)

    async def __aenter__(self) -> RuntimeSupervisor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.aclose(drain=None if error is None else 0.0)

    async def _tried(self, command: Sequence[str], wanted: JobOptions, tally: Tally) -> LaunchResult:
        number = 0
        while True:
            number += 1
            last = number > wanted.retries
            try:
                result = await self._attempts.run(command, wanted, tally)
                if last or result.returncode == 0:
                    return result
            except (LaunchFailed, RuntimeTimeoutError) as error:
                # What is missing or forbidden now will be so in a second.
                if last or isinstance(error.__cause__, FileNotFoundError | PermissionError):
                    raise
            # Jitter, so that jobs which failed together do not come back together.
            pause = min(self._backoff * 2 ** (number - 1), self._backoff_limit) * random.uniform(1, 2)  # noqa: S311
            self._tell("launch.retrying", backend=wanted.backend, attempt=number, pause=pause, **wanted.metadata)
            await self._lifetime.unless_ended(asyncio.sleep(pause))

    async def _fallen_back(self, wanted: JobOptions, failure: RuntimeFailure, tally: Tally) -> LaunchResult:
        self._tell("launch.fallback", backend=wanted.backend, failure=failure.what, **wanted.metadata)
        if not callable(wanted.fallback):
            assert wanted.fallback is not None  # noqa: S101 - the caller looked
            result = await self._attempts.run(wanted.fallback, wanted, tally, guarded=False)
            if wanted.check and result.returncode != 0:
                raise _status(result)
            return replace(result, fallback_used=True)
        # It holds no slot: it may ask this very supervisor for something else.
        started_at, began = time.time(), time.monotonic()
        answer = await self._lifetime.unless_ended(wanted.fallback(failure))
        if isinstance(answer, LaunchResult):
            return replace(answer, fallback_used=True)
        duration = time.monotonic() - began
        return LaunchResult(
            command=(),
            returncode=0,
            stdout=answer,
            stderr="",
            started_at=started_at,
            completed_at=started_at + duration,
            duration=duration,
            backend=wanted.backend,
            attempts=tally.started,
            fallback_used=True,
            metadata=wanted.metadata,
        )


async def _built(build: Callable[..., Any], backend: str, options: dict[str, Any]) -> dict[str, Any]:
    """The command that the runtime builds from its part of `options`, with the supervisor's part."""
    own = {name: options.pop(name) for name in list(options) if name in _OPTIONS}
    # In a thread: a runtime reads the model's header to check it.
    command = await asyncio.to_thread(build, dry_run=True, **options)
    if inspect.isawaitable(command):
        command = await command
    return {"backend": backend, **own, "command": list(command)}


def _weighted(weights: Mapping[str, float], backends: Mapping[str, BackendPolicy]) -> dict[str, BackendPolicy]:
    if twice := sorted(set(weights) & set(backends)):
        raise InvalidInput(
            f"backend {twice[0]!r} has its weight twice",
            why="it is in backends= and in backend_weights=",
            next_step=f"give backends={{{twice[0]!r}: BackendPolicy(weight={weights[twice[0]]!r}, …)}} alone",
        )
    known = {name: DEFAULT_BACKENDS.get(name, BackendPolicy()) for name in weights}
    return {name: replace(known[name], weight=weight) for name, weight in weights.items()}


def _at_least(least: int, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= least):
            raise InvalidInput(f"{name}={value!r} must be {least} or more")


def _status(result: LaunchResult) -> LaunchFailed:
    ended = f"signal {-result.returncode}" if result.returncode < 0 else f"status {result.returncode}"
    return LaunchFailed(
        f"{result.command[0]} ended with {ended}",
        why=result.stderr.strip()[-500:],
        next_step="look at .stdout and .stderr of this error",
        command=result.command,
        returncode=result.returncode,
        stdout=result.stdout,
        stderr=result.stderr,
    )
