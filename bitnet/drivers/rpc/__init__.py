"""Remote launches over gRPC: a server around a supervisor, and a client for it."""

from bitnet.drivers.rpc.client import GRPCSupervisorClient
from bitnet.drivers.rpc.driver import GRPCSupervisorDriver
from bitnet.drivers.rpc.servicer import ANY_COMMAND

__all__ = ["ANY_COMMAND", "GRPCSupervisorClient", "GRPCSupervisorDriver"]
