"""How something reaches all hosts of a target: which go first, how many at a time, and what stops it."""

from provision.rollout.looks import HostEntry, HostPlan, HostStatus, execute, facts, history, logs, plan, status
from provision.rollout.moves import down, mend, promote, rollback, unlock, up
from provision.rollout.smoke import CheckReport, smoke

__all__ = [
    "CheckReport",
    "HostEntry",
    "HostPlan",
    "HostStatus",
    "down",
    "execute",
    "facts",
    "history",
    "logs",
    "mend",
    "plan",
    "promote",
    "rollback",
    "smoke",
    "status",
    "unlock",
    "up",
]
