"""The places that a project is deployed to."""

from provision.targets.conversation import Event, Interrupt, OnEvent
from provision.targets.ssh import Deployment, HostOutcome, HostSession

__all__ = ["Deployment", "Event", "HostOutcome", "HostSession", "Interrupt", "OnEvent"]
