"""How something reaches all hosts of a target: which go first, how many at a time, and what stops it."""

from provision.rollout.execute import execute
from provision.rollout.logs import LogLine, logs
from provision.rollout.looks import (
    Canary,
    HostEntry,
    HostPlan,
    HostStatus,
    canary,
    facts,
    history,
    plan,
    status,
)
from provision.rollout.moves import down, mend, on_purpose, promote, rollback, unlock, up
from provision.rollout.proof import Verified, sign, verify
from provision.rollout.smoke import CheckReport, smoke

__all__ = [
    "Canary",
    "CheckReport",
    "HostEntry",
    "HostPlan",
    "HostStatus",
    "LogLine",
    "Verified",
    "canary",
    "down",
    "execute",
    "facts",
    "history",
    "logs",
    "mend",
    "on_purpose",
    "plan",
    "promote",
    "rollback",
    "sign",
    "smoke",
    "status",
    "unlock",
    "up",
    "verify",
]
