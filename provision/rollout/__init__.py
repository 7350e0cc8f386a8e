"""How something reaches all hosts of a target: which go first, how many at a time, and what stops it."""

from provision.rollout.looks import (
    Canary,
    HostPlan,
    canary,
    execute,
    facts,
    logs,
    plan,
)
from provision.rollout.moves import down, mend, promote, rollback, unlock, up
from provision.rollout.proof import Verified, sign, verify
from provision.rollout.smoke import CheckReport, smoke
from provision.rollout.standing import HostStatus, Standing, Unreached, worst
from provision.rollout.watch import HostEntry, HostFailed, history, status, watched

__all__ = [
    "Canary",
    "CheckReport",
    "HostEntry",
    "HostFailed",
    "HostPlan",
    "HostStatus",
    "Standing",
    "Unreached",
    "Verified",
    "canary",
    "down",
    "execute",
    "facts",
    "history",
    "logs",
    "mend",
    "plan",
    "promote",
    "rollback",
    "sign",
    "smoke",
    "status",
    "unlock",
    "up",
    "verify",
    "watched",
    "worst",
]
