"""How something reaches all hosts of a target: which go first, how many at a time, and what stops it."""

from provision.rollout.bench import Benched, bench
from provision.rollout.execute import execute
from provision.rollout.logs import LogLine, logs
from provision.rollout.looks import (
    Canary,
    HostPlan,
    canary,
    facts,
    plan,
    plan_apart,
)
from provision.rollout.models import HostModels
from provision.rollout.models import fetch as fetch_models
from provision.rollout.models import kept as kept_models
from provision.rollout.moves import down, mend, on_purpose, promote, rollback, unlock, up
from provision.rollout.ports import ports_there
from provision.rollout.previews import down as down_preview
from provision.rollout.previews import down_expired, named_preview
from provision.rollout.previews import up as up_preview
from provision.rollout.proof import Verified, sign, verify, verify_apart
from provision.rollout.smoke import CheckReport, smoke
from provision.rollout.standing import HostStatus, Standing, Unreached, worst
from provision.rollout.steering import Action, Steered, move_on, steer, weigh
from provision.rollout.traffic import HostTraffic, ended, watched_traffic
from provision.rollout.trying import Tried, choices, tries
from provision.rollout.watch import HostEntry, HostFailed, history, status, watched

__all__ = [
    "Action",
    "Benched",
    "Canary",
    "CheckReport",
    "HostEntry",
    "HostFailed",
    "HostModels",
    "HostPlan",
    "HostStatus",
    "HostTraffic",
    "LogLine",
    "Standing",
    "Steered",
    "Tried",
    "Unreached",
    "Verified",
    "bench",
    "canary",
    "choices",
    "down",
    "down_expired",
    "down_preview",
    "ended",
    "execute",
    "facts",
    "fetch_models",
    "history",
    "kept_models",
    "logs",
    "mend",
    "move_on",
    "named_preview",
    "on_purpose",
    "plan",
    "plan_apart",
    "ports_there",
    "promote",
    "rollback",
    "sign",
    "smoke",
    "status",
    "steer",
    "tries",
    "unlock",
    "up",
    "up_preview",
    "verify",
    "verify_apart",
    "watched",
    "watched_traffic",
    "weigh",
    "worst",
]
