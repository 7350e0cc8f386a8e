"""What the caller gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class LaunchResult:
    """One job that ended.

    Attributes:
        command: the argument list; empty where a coroutine fell back.
        returncode: the exit status, negative for a signal.
        stdout, stderr: its output, as far as it was kept; a mark stands where something was cut.
        stdout_cut, stderr_cut: how many bytes were cut.
        started_at, completed_at: of the last attempt, in seconds since 1970.
        duration: seconds between them, by a clock that nobody sets.
        backend: whose share it used.
        attempts: how many times it was started.
        fallback_used: the output is the fallback's.
        metadata: what the caller gave.
    """

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    started_at: float
    completed_at: float
    duration: float
    backend: str
    attempts: int = 1
    fallback_used: bool = False
    stdout_cut: int = 0
    stderr_cut: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values, as far as the metadata are."""
        return {**asdict(self), "command": list(self.command)}


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One moment in the life of a streamed job.

    Attributes:
        kind: `started` once, then `stdout` and `stderr` a line each, at last `completed`.
        text: the line, without its line end.
        result: with `completed`; its output is bounded, as for any job.
    """

    kind: Literal["started", "stdout", "stderr", "completed"]
    text: str = ""
    result: LaunchResult | None = None


@dataclass(frozen=True, slots=True)
class BackendUse:
    """What one backend uses.

    Attributes:
        waiting, running: how many of its jobs do.
        slot_seconds: used so far, running jobs included.
    """

    waiting: int
    running: int
    slot_seconds: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A supervisor at one moment.

    Attributes:
        running, waiting: how many jobs do.
        free: what is left of each resource.
        backends: what each backend uses.
    """

    running: int
    waiting: int
    free: Mapping[str, float]
    backends: Mapping[str, BackendUse]
