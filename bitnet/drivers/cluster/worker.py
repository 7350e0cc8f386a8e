"""What runs inside each Ray actor: one supervisor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bitnet.supervisor import LaunchResult, Runtime, RuntimeSupervisor


class SupervisorWorker:
    """An actor that holds a supervisor, made where it runs.

    Args:
        make_runtime: called in the actor's process.
        resource_limits: the worker's pool.
        supervisor_options: further arguments of `RuntimeSupervisor`.
    """

    def __init__(
        self,
        make_runtime: Callable[[], Runtime],
        resource_limits: Mapping[str, float],
        supervisor_options: Mapping[str, Any],
    ) -> None:
        self._supervisor = RuntimeSupervisor(make_runtime(), resource_limits=resource_limits, **supervisor_options)

    async def ready(self) -> int:
        """How many jobs it runs at once; answering shows that the actor lives."""
        return self._supervisor.concurrency

    async def run_custom(self, command: Sequence[str], options: Mapping[str, Any]) -> LaunchResult:
        """As the supervisor's. Cancelling the call ends the program."""
        return await self._supervisor.run_custom(command, **options)

    async def run_inference(self, options: Mapping[str, Any]) -> LaunchResult:
        """As the supervisor's."""
        return await self._supervisor.run_inference(**options)

    async def close(self, drain: float) -> None:
        """Shut the supervisor down, so that no program outlives the actor."""
        await self._supervisor.aclose(drain)
