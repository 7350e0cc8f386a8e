"""What a caller may say about one job, and about one backend."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bitnet.breaker import BreakerPolicy
from bitnet.errors import InvalidInput, RuntimeFailure
from bitnet.supervisor.job import BULKHEAD
from bitnet.supervisor.result import LaunchResult

Fallback = Sequence[str] | Callable[[RuntimeFailure], Awaitable[str | LaunchResult]]


@dataclass(frozen=True, slots=True)
class BackendPolicy:
    """How one backend is treated.

    Args:
        weight: its share under `weighted-fair`, against the weights of the others.
        limit: how many of its jobs run at once at most (a bulkhead); None for no limit of its own.
        breaker: when it is left alone because it keeps failing; None for never.

    Raises:
        InvalidInput: the weight is not above 0, or the limit is below 1.
    """

    weight: float = 1.0
    limit: int | None = None
    breaker: BreakerPolicy | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InvalidInput(f"weight={self.weight!r} must be above 0")
        if self.limit is not None and self.limit < 1:
            raise InvalidInput(f"limit={self.limit!r} must be 1 or more, or None for no limit")


# A model binary that fails five times in a row is broken, or its model is; arbitrary commands have nothing in common.
DEFAULT_BACKENDS: Mapping[str, BackendPolicy] = {
    "inference": BackendPolicy(breaker=BreakerPolicy()),
    "server": BackendPolicy(breaker=BreakerPolicy()),
    "custom": BackendPolicy(),
}


@dataclass(frozen=True, slots=True)
class JobOptions:
    """Everything about a job but its command. Every `run_…` and `stream_…` method takes these as keywords.

    Args:
        backend: whose share it uses; any name, see `BackendPolicy`.
        timeout: seconds that one attempt may run, without the time it waits for its slot; None for no limit.
        priority: the lowest comes first under `priority`; other policies ignore it.
        resources: what it takes from `resource_limits` while it runs.
        retries: how many more times a failed attempt is tried, with growing pauses. Each one waits its turn again.
        fallback: what to do when all attempts failed: another command, or a coroutine function that is called with
            the failure and returns a text or a whole result.
        check: a status that is not 0 is an error (`LaunchFailed`), and not just a result.
        env: more environment variables for this job.
        cwd: where it runs.
        metadata: handed through to the result and the telemetry events.
        trace: the caller's trace context where the caller is another process (W3C `traceparent`).

    Raises:
        InvalidInput: a value out of range.
    """

    backend: str = "custom"
    timeout: float | None = None
    priority: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    retries: int = 0
    fallback: Fallback | None = None
    check: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | os.PathLike[str] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    trace: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.timeout is not None and not (math.isfinite(self.timeout) and self.timeout > 0):
            raise InvalidInput(f"timeout={self.timeout!r} must be above 0 seconds, or None for no limit")
        if math.isnan(self.priority):
            raise InvalidInput("priority=nan has no place in any order")
        if self.retries < 0:
            raise InvalidInput(f"retries={self.retries!r} must be 0 or more")
        if isinstance(self.fallback, str) or inspect.isawaitable(self.fallback):
            raise InvalidInput(
                "fallback= is a list of strings or a coroutine function",
                why="a line would need a shell, and a coroutine that was called already cannot be told the failure",
                next_step="give the command as a list, or the function itself without calling it",
            )
        reserved = [name for name in self.resources if name.startswith(BULKHEAD)]
        if reserved:
            raise InvalidInput(f"resources may not be called {reserved[0]!r}: {BULKHEAD!r} stands for backends' limits")
