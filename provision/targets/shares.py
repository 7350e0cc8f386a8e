"""What an `up` makes of the share of requests that a canary has: by hand, by steps, or as its release declares."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provision.contract import roles, shared
from provision.contract import rollout as contract
from provision.contract.slots import CANARY, STABLE
from provision.contract.state import State, from_dict
from provision.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provision.contract.rollout import RolloutAsked
    from provision.plan import Plan
    from provision.targets.deployment import Deployment
    from provision.targets.host import HostConversation

_NOBODY_JUDGES = (
    "no step is taken this time: an earlier version deployed last, so no keeper is there to judge them, and this "
    "release goes to all clients at once. To have it judged, first: deploy up with what serves"
)


def demand_share(deployment: Deployment, channel: str, share: float | None) -> None:
    """Refuse a share that nothing could give.

    Raises:
        UsageError: says why, and the way out.
    """
    if share is None:
        return
    if channel != CANARY:
        raise UsageError(
            "a weight is a canary's: stable has what that leaves.", next_step="deploy up --channel canary --weight 5%"
        )
    demand_traffic(deployment)


def demand_traffic(deployment: Deployment) -> None:
    """Refuse what takes traffic, where there is none.

    Raises:
        UsageError: the target declares none.
    """
    if deployment.target.traffic is None:
        name = deployment.target_name
        raise UsageError(
            f"targets.{name} has no traffic, so nothing decides who gets which request.",
            why="A canary has ports of its own there, and what stands in front leads to them.",
            next_step=f"add [targets.{name}.traffic] (docs/traffic.md), then: deploy up",
        )


def channel_by_itself(session: HostConversation) -> str:
    """Where an `up` that names no channel goes: to a canary, where its share grows by steps and somebody is there to
    compare it with and to judge it; else to stable.
    """
    deployment = session.deployment
    if not deployment.target.rollout.steps:
        return STABLE
    state = from_dict(session.facts({})["project"]["state"])
    ours = state.project in ("", deployment.loaded.project.name)
    serves = state.channels.get(STABLE)
    return CANARY if ours and roles.keeper(state) and serves not in (None, deployment.release.id) else STABLE


def with_shares(
    deployment: Deployment,
    planned: Plan,
    state: State,
    share: float | None,
    *,
    aborts: bool,
    waits_for: Sequence[str] = (),
) -> Plan:
    """`planned`, which is an `up`, with what it makes of shares and rollouts.

    Args:
        share: what the canary is given by hand, in place of steps.
        aborts: whether a rollout that is under way ends.
        waits_for: the hosts that promote the release before a rollout begins here.

    Raises:
        Failure: one is, and this `up` does not say that it ends.
    """
    rollout = deployment.target.rollout
    asked: RolloutAsked | None = None
    if planned.channel == CANARY and rollout.steps and share is None and roles.keeper(state):
        asked = deployment.target.rollout_asked
        if not deployment.target.can.on_host:
            asked["by_somebody"] = True
        if waits_for:
            asked["waits_for"] = list(waits_for)
    serves = state.channels.get(STABLE, planned.release)
    if planned.channel == STABLE and rollout.steps and serves != planned.release and not roles.keeper(state):
        planned = replace(planned, warnings=(*planned.warnings, _NOBODY_JUDGES))
    shared.demand_free(state.rollout, "up", planned.channel, planned.release, asked, share, aborts=aborts)
    begins = contract.begun(asked, "", planned.release, "", 0) if asked else None
    channels = {**state.channels, planned.channel: planned.release}
    after = shared.after(state, "up", channels, "", 0.0, begins=begins, given=share, aborts=aborts)
    weighs = after != shared.Changed(dict(state.shares), state.rollout)
    return replace(planned, share=share, rollout=asked, aborts_rollout=aborts, weighs=weighs)
