"""What became of one host."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provision.contract import roles
from provision.contract.slots import CANARY
from provision.contract.steps import Do
from provision.targets.reach import Reached, reached

if TYPE_CHECKING:
    from provision import plan
    from provision.contract.answers import Transacted
    from provision.contract.events import Held
    from provision.targets.host import HostConversation


@dataclass(frozen=True)
class HostOutcome:
    """What became of one host."""

    host: str
    outcome: str  # committed, unchanged, planned
    plan: plan.Plan
    seconds: float = 0.0
    round_trips: dict[str, dict[str, int]] = field(default_factory=dict)
    did: dict[str, str] = field(default_factory=dict)  # program -> what was done to it, as a step says
    waited: dict[str, float] = field(default_factory=dict)  # program -> seconds in which nobody answered at its port
    held: dict[str, Held] = field(default_factory=dict)  # program -> what requests for it waited for
    reach: tuple[Reached, ...] = ()  # what it serves now, and where users get to it


def ended(
    session: HostConversation,
    outcome: str,
    plan_: plan.Plan,
    answer: Transacted | None = None,
) -> HostOutcome:
    """What became of a host, told as well; what was done is what was planned, where the host says nothing else."""
    seconds = round(time.monotonic() - session.began, 3)
    trips = session.connection.round_trips.by_phase()
    did = answer.get("did") if answer else None
    did = {step.program: str(step.do) for step in plan_.steps} if did is None else did
    slots = _slots(session, plan_)
    found = tuple(reached(session.deployment, session.spec, plan_.channel, slots)) if plan_.kind != "down" else ()
    waited = answer.get("waited", {}) if answer else {}
    held = answer.get("held", {}) if answer else {}
    result = HostOutcome(session.spec.name, outcome, plan_, seconds, trips, did, waited, held, found)
    session.deployment.on_event(
        {
            "event": "result",
            "host": session.spec.name,
            "outcome": outcome,
            "kind": plan_.kind,
            "channel": plan_.channel,
            "release": plan_.release,
            "generation": plan_.generation,
            "seconds": seconds,
            "round_trips": trips,
            "did": did,
            "waited": result.waited,
            "held": result.held,
            "reach": [each._asdict() for each in found],
            **({"share": plan_.share} if plan_.share is not None else {}),
            **({"rollout": plan_.rollout} if plan_.rollout else {}),
        }
    )
    return result


def _slots(session: HostConversation, plan_: plan.Plan) -> dict[str, int]:
    """Where a canary's programs are that traffic comes to, by service."""
    if plan_.kind != "up" or plan_.channel != CANARY:
        return {}
    document = session.deployment.release.document
    ours = {step.program for step in plan_.steps if step.lane == CANARY and step.do is not Do.REMOVE}
    return {
        name: each["ports"][0]
        for name in document.get("traffic", {"services": {}})["services"]
        for each in roles.slots_of(document, name).values()
        if each["program"] in ours
    }
