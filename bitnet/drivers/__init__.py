"""Supervisors beyond one process: over gRPC, and on a Ray cluster.

Each driver's package is loaded when its name is first used; a missing one says which extra brings it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from bitnet.errors import MissingExtra

if TYPE_CHECKING:
    from bitnet.drivers.cluster import RaySupervisorDriver as RaySupervisorDriver
    from bitnet.drivers.rpc import ANY_COMMAND as ANY_COMMAND
    from bitnet.drivers.rpc import GRPCSupervisorClient as GRPCSupervisorClient
    from bitnet.drivers.rpc import GRPCSupervisorDriver as GRPCSupervisorDriver

_HOMES = {
    "ANY_COMMAND": ("bitnet.drivers.rpc", "grpc"),
    "GRPCSupervisorClient": ("bitnet.drivers.rpc", "grpc"),
    "GRPCSupervisorDriver": ("bitnet.drivers.rpc", "grpc"),
    "RaySupervisorDriver": ("bitnet.drivers.cluster", "ray"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'bitnet.drivers' has no attribute {name!r}")
    home, extra = _HOMES[name]
    try:
        return getattr(importlib.import_module(home), name)
    except ModuleNotFoundError as error:
        raise MissingExtra(extra, error.name or extra) from error
