"""`RaySupervisorDriver`: one front for supervisors on a cluster.

Each worker is an actor with a supervisor of its own. A task goes to the worker with the fewest tasks on their way. A
worker that dies is replaced and its tasks are given to others, so such a task may have run in part before:
`worker_retries=0` where that must not be.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from bitnet import tracing
from bitnet.drivers.cluster import session
from bitnet.drivers.cluster.worker import SupervisorWorker
from bitnet.errors import DriverFailure, InvalidInput, RuntimeFailure
from bitnet.supervisor import LaunchResult, Runtime
from bitnet.supervisor.lifetime import closed

CALLS_PER_WORKER = 10_000
"""How many calls a worker takes at a time. The queue that counts is the one of its supervisor, so Ray's stays out."""


@dataclass(slots=True, eq=False)
class _Worker:
    actor: Any
    tasks: int = 0
    last_task: int = 0


class RaySupervisorDriver:
    """Spreads tasks over supervisors on a Ray cluster. Starts at the first task, or with `start` or `async with`.

    Args:
        make_runtime: makes the runtime of a worker, in the worker's process and on its machine.
        num_workers: how many workers there are.
        resource_limits: what each worker holds: `cpu`, `gpu` and `memory` (bytes) are taken from Ray's resources of
            these names, others from its custom ones. Tasks take `resources` from it.
        supervisor_options: further arguments of each worker's `RuntimeSupervisor`.
        init_kwargs: arguments of `ray.init`. What today's Ray no longer takes is left out with a warning.
        shutdown_ray: whether `aclose` also shuts Ray down in this process.
        worker_retries: how many more workers a task is given to when workers die under it.
        start_timeout: seconds until all workers must have answered; it includes Ray's wait for their resources.

    Raises:
        InvalidInput: a number out of range.
    """

    def __init__(
        self,
        make_runtime: Callable[[], Runtime],
        num_workers: int = 1,
        *,
        resource_limits: Mapping[str, float] | None = None,
        supervisor_options: Mapping[str, Any] | None = None,
        init_kwargs: Mapping[str, Any] | None = None,
        shutdown_ray: bool = False,
        worker_retries: int = 1,
        start_timeout: float = 60.0,
    ) -> None:
        if num_workers < 1 or worker_retries < 0:
            raise InvalidInput(
                f"num_workers={num_workers} must be 1 or more, worker_retries={worker_retries} 0 or more"
            )
        self._make_runtime = make_runtime
        self._num_workers = num_workers
        self._resources = dict(resource_limits or {})
        self._supervisor_options = dict(supervisor_options or {})
        self._init_kwargs = dict(init_kwargs or {})
        self._shutdown_ray = shutdown_ray
        self._worker_retries = worker_retries
        self._start_timeout = start_timeout
        self._workers: list[_Worker] = []
        self._starting = asyncio.Lock()
        self._closed = False
        self._task_numbers = itertools.count(1)

    @property
    def load(self) -> tuple[int, ...]:
        """How many tasks are on their way to each worker, or running there."""
        return tuple(worker.tasks for worker in self._workers)

    async def start(self) -> None:
        """Join Ray, or start it, and wait until every worker answers. Starting again changes nothing.

        Raises:
            DriverFailure: the driver was closed, Ray cannot start, or the workers did not come up in time.
        """
        async with self._starting:
            if self._closed:
                raise DriverFailure("the Ray driver is closed", next_step="make a new one")
            if self._workers:
                return
            try:
                await asyncio.to_thread(session.join, self._init_kwargs)
            except (RayError, RuntimeError, ValueError, ConnectionError) as error:
                raise DriverFailure("Ray did not start", why=str(error), next_step="check init_kwargs=") from error
            workers = [self._employ() for _ in range(self._num_workers)]
            try:
                async with asyncio.timeout(self._start_timeout):
                    await asyncio.gather(*(worker.actor.ready.remote() for worker in workers))
                self._workers = workers
            except (TimeoutError, RayError) as error:
                raise self._did_not_come_up(error) from error
            finally:
                if not self._workers:  # also when the one who waits is cancelled
                    for worker in workers:
                        ray.kill(worker.actor)

    async def submit_task(self, command: Sequence[str], **options: Any) -> LaunchResult:
        """Run any program on the least loaded worker. Cancelling ends it there.

        Args:
            command: the argument list.
            options: as of `RuntimeSupervisor.run_custom`.

        Raises:
            DriverFailure: the driver cannot start, or workers died under the task more than `worker_retries` times.
            RuntimeFailure: as the worker's supervisor raised it.
        """
        return await self._submit("run_custom", options, list(command))

    async def submit_inference(self, **options: Any) -> LaunchResult:
        """Let a worker's runtime answer a prompt: as `RuntimeSupervisor.run_inference`, errors as `submit_task`."""
        return await self._submit("run_inference", options)

    async def aclose(self, drain: float = 30.0) -> None:
        """Let the workers finish for `drain` seconds, end what is left, and shut Ray down if that was asked for."""
        async with self._starting:
            self._closed = True
            workers, self._workers = self._workers, []
        endings = (worker.actor.close.remote(drain) for worker in workers)
        await asyncio.gather(*endings, return_exceptions=True)  # a worker that is dead has ended
        for worker in workers:
            ray.kill(worker.actor)
        if self._shutdown_ray:
            await asyncio.to_thread(ray.shutdown)

    async def __aenter__(self) -> RaySupervisorDriver:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.aclose(drain=30.0 if error is None else 0.0)

    def _employ(self) -> _Worker:
        actor = ray.remote(SupervisorWorker).options(
            max_concurrency=CALLS_PER_WORKER, **session.actor_options(self._resources)
        )
        return _Worker(actor.remote(self._make_runtime, self._resources, self._supervisor_options))

    async def _submit(self, method: str, options: dict[str, Any], *arguments: Any) -> LaunchResult:
        await self.start()
        with tracing.span("bitnet.ray.submit", workers=self._num_workers) as span:
            options = {**options, "trace": span.carrier()}
            deaths = 0
            while True:
                # Of equally loaded ones the one that has waited longest, so that a trickle of tasks is spread too.
                worker = min(self._workers, key=lambda worker: (worker.tasks, worker.last_task))
                try:
                    return await self._call(worker, method, *arguments, options)
                except RayActorError as death:
                    if self._closed:  # the worker was ended before it could say so itself
                        raise closed("ended this job") from death
                    self._replace(worker)
                    deaths += 1
                    if deaths > self._worker_retries:
                        raise DriverFailure(
                            f"the worker died under the task, {deaths} times in all",
                            why=str(death).strip().splitlines()[0],
                            next_step="look for memory pressure on its machine; ray status shows the cluster",
                        ) from death

    async def _call(self, worker: _Worker, method: str, *arguments: Any) -> LaunchResult:
        worker.tasks += 1
        worker.last_task = next(self._task_numbers)
        call = getattr(worker.actor, method).remote(*arguments)
        try:
            result: LaunchResult = await call
        except asyncio.CancelledError:
            ray.cancel(call)
            raise
        except RayTaskError as error:
            if isinstance(error.cause, RuntimeFailure):
                raise error.cause from None
            raise DriverFailure("the task failed in its worker", why=str(error.cause)) from error
        finally:
            worker.tasks -= 1
        return result

    def _replace(self, dead: _Worker) -> None:
        """Put a new worker in the place of a dead one; of many tasks that saw it die, the first does."""
        if dead in self._workers:
            with suppress(RayError):
                ray.kill(dead.actor)  # it may be unreachable and not dead; its tasks must not run twice
            self._workers[self._workers.index(dead)] = self._employ()

    def _did_not_come_up(self, error: Exception) -> DriverFailure:
        asked = ", ".join(f"{name} {amount:g}" for name, amount in self._resources.items()) or "nothing"
        there = ", ".join(f"{name} {amount:g}" for name, amount in sorted(ray.available_resources().items()))
        return DriverFailure(
            f"{self._num_workers} Ray workers did not come up in {self._start_timeout:g} s",
            why=str(error) or f"each asks for {asked}; available in the cluster: {there}",
            next_step="ask for less, add machines, or raise start_timeout=",
        )
