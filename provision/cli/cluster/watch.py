"""`deploy rollout watch` on a cluster, which takes the steps as well; and what its other verbs have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from provision.cli.judging import watch_all
from provision.cli.render.traffic import steered_lines
from provision.cli.verbs.traffic import steered_event
from provision.errors import Exit, Refused, Unreachable
from provision.rollout import HostTraffic, Steered, Unreached

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.contract.answers import Traffic


def command(session: Session, every: float) -> Exit:
    from provision.cluster import rolling

    seen = False

    def look() -> list[HostTraffic | Unreached]:
        nonlocal seen
        try:
            found = rolling.look(session.there)
        except (Unreachable, Refused) as error:
            if not seen:
                raise
            return [Unreached(session.target, error)]  # Prometheus is away, or somebody is deploying: it is asked again
        seen = True
        return [HostTraffic(session.target, cast("Traffic", {"rollout": found}))]

    says = "nobody takes its steps now: the canary keeps its share; deploy rollout watch goes on"
    return watch_all(session, every, look, lambda id_, _: rolling.ended(session.there, id_), says)


def steer(session: Session, action: str) -> None:
    """Pause, resume or abort, and tell what came of it."""
    from provision.cluster import rolling

    with session.console.live():
        outcome, known = rolling.steer(session.there, action)
    done = Steered(session.target, outcome, dict(known.shares), known.rollout)
    session.console.answer(steered_event(done), steered_lines(done))
