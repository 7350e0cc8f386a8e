"""The places that a project is deployed to."""

from provision.targets.conversation import Event, Interrupt, OnEvent
from provision.targets.deployment import Deployment
from provision.targets.host import HostConversation, open_session
from provision.targets.outcomes import HostOutcome
from provision.targets.outside import ask_outside, down_outside
from provision.targets.transact import apply, plan_move, plan_on_purpose, plan_up

__all__ = [
    "Deployment",
    "Event",
    "HostConversation",
    "HostOutcome",
    "Interrupt",
    "OnEvent",
    "apply",
    "ask_outside",
    "down_outside",
    "open_session",
    "plan_move",
    "plan_on_purpose",
    "plan_up",
]
