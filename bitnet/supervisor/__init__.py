"""Many launches, bounded, scheduled and observed: see `RuntimeSupervisor`."""

from bitnet.breaker import BreakerPolicy
from bitnet.supervisor.options import BackendPolicy, JobOptions
from bitnet.supervisor.result import BackendUse, LaunchResult, Snapshot, StreamEvent
from bitnet.supervisor.supervisor import Runtime, RuntimeSupervisor

__all__ = [
    "BackendPolicy",
    "BackendUse",
    "BreakerPolicy",
    "JobOptions",
    "LaunchResult",
    "Runtime",
    "RuntimeSupervisor",
    "Snapshot",
    "StreamEvent",
]
