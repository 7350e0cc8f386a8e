"""The on-host runtime for compiled BitNet and llama.cpp binaries.

    runtime = BitNetRuntime(build_dir="build")
    async with RuntimeSupervisor(runtime, concurrency=runtime.cpu_count) as sup:
        result = await sup.run_inference(model="model.gguf", prompt="…", timeout=30)

Importing this package loads nothing else: a name is loaded when it is first used, gRPC and Ray only with their drivers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitnet.breaker import BreakerPolicy as BreakerPolicy
    from bitnet.diagnostics import Diagnostics as Diagnostics
    from bitnet.drivers import GRPCSupervisorDriver as GRPCSupervisorDriver
    from bitnet.drivers import RaySupervisorDriver as RaySupervisorDriver
    from bitnet.errors import CircuitOpen as CircuitOpen
    from bitnet.errors import InvalidInput as InvalidInput
    from bitnet.errors import LaunchFailed as LaunchFailed
    from bitnet.errors import ModelUnusable as ModelUnusable
    from bitnet.errors import QueueFull as QueueFull
    from bitnet.errors import RuntimeFailure as RuntimeFailure
    from bitnet.errors import RuntimeTimeoutError as RuntimeTimeoutError
    from bitnet.launch import Retries as Retries
    from bitnet.runtime import BitNetRuntime as BitNetRuntime
    from bitnet.supervisor import BackendPolicy as BackendPolicy
    from bitnet.supervisor import RuntimeSupervisor as RuntimeSupervisor
    from bitnet.telemetry import Event as Event
    from bitnet.telemetry import JsonLinesSink as JsonLinesSink

__version__ = "0.1.0"  # the one place: the wheel, `deploy` and `bitnet` tell this one

_HOMES = {
    "BackendPolicy": "bitnet.supervisor",
    "BitNetRuntime": "bitnet.runtime",
    "BreakerPolicy": "bitnet.breaker",
    "CircuitOpen": "bitnet.errors",
    "Diagnostics": "bitnet.diagnostics",
    "Event": "bitnet.telemetry",
    "GRPCSupervisorDriver": "bitnet.drivers",
    "InvalidInput": "bitnet.errors",
    "JsonLinesSink": "bitnet.telemetry",
    "LaunchFailed": "bitnet.errors",
    "ModelUnusable": "bitnet.errors",
    "QueueFull": "bitnet.errors",
    "RaySupervisorDriver": "bitnet.drivers",
    "Retries": "bitnet.launch",
    "RuntimeFailure": "bitnet.errors",
    "RuntimeSupervisor": "bitnet.supervisor",
    "RuntimeTimeoutError": "bitnet.errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'bitnet' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
