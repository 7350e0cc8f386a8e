"""Supervisors on the machines of a Ray cluster."""

from bitnet.drivers.cluster.driver import RaySupervisorDriver

__all__ = ["RaySupervisorDriver"]
