"""Who gets which request on each host, and what becomes of a rollout there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from provision.contract.answers import Traffic, Transacted
from provision.hosts import HostSpec, run_on_hosts
from provision.rollout.hosts import chosen, values
from provision.rollout.watch import Watch, history
from provision.targets import Deployment, HostConversation, open_session
from provision.targets.shares import demand_traffic

if TYPE_CHECKING:
    from provision.contract.records import HistoryEntry
    from provision.contract.requests import SteerRollout, Weigh
    from provision.contract.rollout import RolloutNote, RolloutRecord

_STEP_MINUTES = 1  # of figures, for who looks at the rollout alone

Action = Literal["pause", "resume", "abort", "promote"]


@dataclass(frozen=True)
class HostTraffic:
    """Who gets what on one host, and how that went; see docs/reference.md."""

    host: str
    answer: Traffic


@dataclass(frozen=True)
class Steered:
    """What a request that moves no release came to on one host."""

    host: str
    outcome: str  # committed, unchanged
    shares: dict[str, float]  # lane -> share of the clients, where its release does not say it
    rollout: RolloutRecord | None


@contextlib.contextmanager
def watched_traffic(
    deployment: Deployment, minutes: int = _STEP_MINUTES, hosts: Sequence[str] | None = None, *, points: int = 0
) -> Iterator[Watch[HostTraffic]]:
    """Hosts that are asked again and again who gets what, each over one connection.

    Args:
        minutes: the last ones, whose figures are wanted.
        points: how many a lane's series of them may have; 0 for none.

    Raises:
        UsageError: the target has no traffic.
    """
    demand_traffic(deployment)

    def ask(session: HostConversation, *, first: bool) -> HostTraffic:
        with session.phase("facts") if first else contextlib.nullcontext():
            answer = session.conversation.ask({"op": "traffic", "minutes": minutes, "points": points}, Traffic)
        return HostTraffic(session.spec.name, answer)

    with contextlib.closing(Watch(deployment, chosen(deployment, hosts), ask)) as watch:
        yield watch


def weigh(deployment: Deployment, share: float, hosts: Sequence[str] | None = None) -> list[Steered]:
    """Give the canary of each host a share of the clients, by hand.

    Raises:
        UsageError: the target has no traffic.
        Refused: there is no canary, or a rollout gives it its shares.
    """
    demand_traffic(deployment)
    return _on_all(deployment, {"op": "weigh", "share": share}, hosts)


def steer(deployment: Deployment, action: Action, hosts: Sequence[str] | None = None) -> list[Steered]:
    """Pause, resume or abort the rollout of each host, or let the host promote its canary at once.

    Raises:
        UsageError: the target has no traffic.
        Refused: none is under way, or a promotion takes evidence.
    """
    demand_traffic(deployment)
    return _on_all(deployment, {"op": "rollout", "action": action}, hosts)


def _on_all(deployment: Deployment, request: Weigh | SteerRollout, hosts: Sequence[str] | None) -> list[Steered]:
    def act(spec: HostSpec) -> Steered:
        with open_session(deployment, spec, install=True) as session, session.phase("transaction"):
            answer = session.conversation.ask(request, Transacted)
        return Steered(spec.name, answer["outcome"], answer.get("shares", {}), answer.get("rollout"))

    return values(run_on_hosts(chosen(deployment, hosts), act))


def ended(deployment: Deployment, id_: str, host: str) -> RolloutNote | None:
    """How a rollout ended that a host does not speak of any more, as its history has it."""
    for entry in reversed(history(deployment, [host])):
        note = cast("HistoryEntry", entry).get("rollout")
        if note and note["id"] == id_:
            return note
    return None
