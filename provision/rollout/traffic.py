"""Who gets which request on each host, and how a rollout stands there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from provision.contract.answers import Traffic
from provision.rollout.hosts import chosen
from provision.rollout.watch import Watch, history
from provision.targets import Deployment, HostConversation
from provision.targets.shares import demand_traffic

if TYPE_CHECKING:
    from provision.contract.records import HistoryEntry
    from provision.contract.rollout import RolloutNote

_STEP_MINUTES = 1  # of figures, for who looks at the rollout alone


@dataclass(frozen=True)
class HostTraffic:
    """Who gets what on one host, and how that went; see docs/reference.md."""

    host: str
    answer: Traffic


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


def ended(deployment: Deployment, id_: str, host: str) -> RolloutNote | None:
    """How a rollout ended that a host does not speak of any more, as its history has it."""
    for entry in reversed(history(deployment, [host])):
        note = cast("HistoryEntry", entry).get("rollout")
        if note and note["id"] == id_:
            return note
    return None
