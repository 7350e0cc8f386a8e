"""What a deploy did to each program, how long users waited for it, and where it is reached now, as last lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from provision.cli.render.traffic import waiting
from provision.contract import held
from provision.contract.steps import Do
from provision.project.units import percent, seconds

if TYPE_CHECKING:
    from provision.contract.events import Held
    from provision.targets import HostOutcome

_DID = {
    Do.START: "started",
    Do.RESTART: "restarted",
    Do.INSTALL: "installed",
    Do.REMOVE: "ended",
    Do.KEEP: "not touched",
}


def outcome_lines(outcomes: Sequence[HostOutcome]) -> Iterator[str]:
    for outcome in outcomes:
        if done := [*_done(outcome)]:
            yield f"{outcome.host}: {'; '.join(done)}"
        yield from _shares(outcome)
    # Hosts of a kind are reached alike; each way is told once.
    ways = dict.fromkeys(reach for outcome in outcomes for reach in outcome.reach)
    for reach in ways:
        yield f"{reach.service}: " + (f"{reach.tunnel}, then {reach.url}" if reach.tunnel else reach.url)


def _shares(outcome: HostOutcome) -> Iterator[str]:
    """What was begun, which goes on by itself; or what the canary was given."""
    if outcome.plan.rollout and "waits_for" in outcome.plan.rollout:
        begins = waiting(outcome.plan.rollout)
        yield f"{outcome.host}: nobody comes to it yet: its steps begin {begins}; next: deploy rollout watch"
    elif outcome.plan.rollout:
        yield f"{outcome.host}: the host lets clients to it by steps, and judges it; next: deploy rollout watch"
    elif outcome.plan.share is not None:
        yield f"{outcome.host}: the canary has {percent(outcome.plan.share)} of the clients; next: deploy traffic"


def _done(outcome: HostOutcome) -> Iterator[str]:
    if set(outcome.did.values()) <= {Do.KEEP}:
        return  # the result before it says so
    for do, word in _DID.items():
        names = [name for name, did in outcome.did.items() if did == do]
        told = [name + _waited(outcome.waited.get(name, 0.0), outcome.held.get(name)) for name in names]
        if told:
            yield f"{word}: {', '.join(told)}"


def _waited(value: float, held_: Held | None) -> str:
    if held_ is not None:
        return f" ({held.sentence(held_)})"
    return f" (users waited {seconds(value)})" if value else ""
