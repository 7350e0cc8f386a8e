"""What changes hosts: up, promote, rollback, down; restart, start, stop; mend, unlock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from provision import errors
from provision.contract.answers import Mended, Unlocked
from provision.contract.slots import STABLE
from provision.hosts import HostSpec, run_on_hosts
from provision.rollout import proof as proofs
from provision.rollout.everywhere import earlier, on_all
from provision.rollout.hosts import chosen, values
from provision.rollout.steering import demand_none_under_way, move_on
from provision.targets import (
    Deployment,
    HostConversation,
    HostOutcome,
    Interrupt,
    ask_outside,
    down_outside,
    open_session,
    plan_move,
    plan_on_purpose,
    plan_up,
)
from provision.targets.front import Front, apply_behind
from provision.targets.shares import channel_by_itself, demand_share

if TYPE_CHECKING:
    from provision.plan import Plan


def up(
    deployment: Deployment,
    channel: str = "stable",
    interrupt: Interrupt | None = None,
    hosts: Sequence[str] | None = None,
    *,
    take_over: str = "",
    again: Sequence[str] = (),
    done: Sequence[str] = (),
    share: float | None = None,
    abort_rollout: bool = False,
) -> list[HostOutcome]:
    """Bring the project as it is now to `channel` of every host.

    Hosts are deployed to in the batches that the target declares; what fails stops the batches that follow, and with
    `on_failure = "revert"` the hosts that had committed go back.

    Args:
        channel: empty: a canary where its share grows by steps and there is a stable to compare it with; else stable.
        take_over: another project that is in the target's path on purpose no more: its services end.
        again: the commands that run once a release to run again, although they have run.
        done: those that are known to be done, though nobody here saw it.
        share: of the clients, that the canary is given by hand, in place of steps.
        abort_rollout: a rollout that is under way ends; else this is refused.

    Raises:
        Refused, PutBack, Degraded, Interrupted, Unreachable: of a single host, how it ended.
        SomeHostsFailed: of several hosts, some did not get there; which, and how the others stand.
    """
    demand_share(deployment, channel, share)
    deployment.say_once(again, done)
    deployment.build_ahead(channel or STABLE, pins=True)
    proof = proofs.required(deployment, channel or STABLE, brought=True)
    if deployment.runs_once:
        demand_done(deployment, hosts)
    if not abort_rollout:
        demand_none_under_way(deployment, channel, hosts)
    first = earlier(deployment, hosts)

    def act(session: HostConversation, front: Front | None) -> HostOutcome:
        to = channel or channel_by_itself(session)
        waits_for = first[session.spec.name]
        planned = plan_up(session, to, claim=True, share=share, abort_rollout=abort_rollout, waits_for=waits_for)
        return _apply_proven(session, front, planned, interrupt, proof if to == STABLE else None)

    alone = deployment.runner if deployment.runs_once else None
    outcomes = on_all(deployment, act, interrupt, hosts, take_over, alone)
    if any(outcome.plan.rollout for outcome in outcomes):
        move_on(deployment, hosts)
    return outcomes


def promote(
    deployment: Deployment,
    interrupt: Interrupt | None = None,
    hosts: Sequence[str] | None = None,
    *,
    take: str = "",
) -> list[HostOutcome]:
    """Bring exactly the canary's release to stable; raises as `up` does.

    Args:
        take: that release, where hosts without a canary are to take it as well: it is built here and brought there.
    """
    if take:
        deployment.build_ahead("stable")
    proof = proofs.required(deployment, brought=bool(take) and deployment.release.id == take)
    if deployment.target.rollout.steps and not take:
        hosts = _not_promoted(deployment, hosts)

    def act(session: HostConversation, front: Front | None) -> HostOutcome:
        if not take or "canary" in session.facts({})["project"]["state"].get("channels", {}):
            return _apply_proven(session, front, plan_move(session, "promote", claim=True), interrupt, proof)
        if deployment.release.id != take:
            raise errors.Refused(
                f"release {take[:12]}, which the canary proved, is not what this folder holds.",
                host=session.spec.name,
                why=f"Its files make release {deployment.release.id[:12]}.",
                next_step="check out what the canary was deployed from, then: deploy up",
            )
        return _apply_proven(session, front, plan_up(session, "stable", claim=True), interrupt, proof)

    return on_all(deployment, act, interrupt, hosts)


def _not_promoted(deployment: Deployment, hosts: Sequence[str] | None) -> Sequence[str] | None:
    """The hosts that are left, where others have promoted by themselves what all have got."""
    specs = chosen(deployment, hosts)
    if len(specs) == 1:
        return hosts

    def look(spec: HostSpec) -> dict[str, str]:
        with open_session(deployment, spec) as session:
            return dict(session.facts({}, told=False)["project"]["state"].get("channels", {}))

    channels = {each.spec.name: each.value or {} for each in run_on_hosts(specs, look)}
    on_trial = {each["canary"] for each in channels.values() if "canary" in each}
    done = [name for name, each in channels.items() if "canary" not in each and {each.get("stable")} == on_trial]
    for name in done:
        told = {"outcome": "unchanged", "kind": "promote", "channel": STABLE, "release": channels[name]["stable"]}
        deployment.on_event({"event": "result", "host": name, **told})
    return [name for name in channels if name not in done] if done else hosts


def rollback(
    deployment: Deployment,
    to: str = "",
    interrupt: Interrupt | None = None,
    hosts: Sequence[str] | None = None,
) -> list[HostOutcome]:
    """Bring an earlier release to stable: the last one, or the one whose id begins with `to`; raises as `up` does."""
    proof = proofs.required(deployment)

    def act(session: HostConversation, front: Front | None) -> HostOutcome:
        return _apply_proven(session, front, plan_move(session, "rollback", release=to, claim=True), interrupt, proof)

    return on_all(deployment, act, interrupt, hosts)


def down(
    deployment: Deployment,
    channel: str = "",
    interrupt: Interrupt | None = None,
    hosts: Sequence[str] | None = None,
) -> list[HostOutcome]:
    """Stop and remove every service of `channel`, or of both; files and history stay. Raises as `up` does.

    Where the target's folder can't be trusted, all that the supervisor shows of it is ended, and no file is believed.
    """

    def act(session: HostConversation, front: Front | None) -> HostOutcome:
        try:
            plan = plan_move(session, "down", channel=channel, claim=True)
        except errors.Untrusted:
            if channel:  # which channel a program serves is told by what is not believed
                raise
            return down_outside(session, interrupt)
        return apply_behind(front, session, plan, interrupt)

    return on_all(deployment, act, interrupt, hosts)


def on_purpose(
    deployment: Deployment,
    kind: str,
    services: Sequence[str] = (),
    channel: str = "stable",
    interrupt: Interrupt | None = None,
    hosts: Sequence[str] | None = None,
) -> list[HostOutcome]:
    """Restart, start or stop services of `channel`, as they are deployed; raises as `up` does.

    What was started is proven; where that fails, each host has again what ran before. What was stopped stays so until
    it is started, or a release is brought to the channel.

    Args:
        kind: restart, start or stop.
        services: `api` with all of its copies, or one of them as `api.2`; none: all but those on demand.

    Raises:
        UsageError: a host has no such service.
    """

    def act(session: HostConversation, front: Front | None) -> HostOutcome:
        return apply_behind(front, session, plan_on_purpose(session, kind, channel, services), interrupt)

    return on_all(deployment, act, interrupt, hosts, goes_back=False)


def mend(deployment: Deployment, hosts: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Make each host's folders ones that can be trusted; what was closed to others, set aside and ended there.

    Raises:
        Untrusted: what stands in the way is for somebody else to mend; nothing was changed.
    """

    def act(spec: HostSpec) -> dict[str, Any]:
        with open_session(deployment, spec) as session:
            return {**ask_outside(session, "mend", Mended), "host": spec.name}

    return values(run_on_hosts(chosen(deployment, hosts), act))


def unlock(deployment: Deployment, *, yes: bool = False, hosts: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Show who holds each host's lock; with `yes`, end a worker that hangs, and recover."""

    def act(spec: HostSpec) -> dict[str, Any]:
        with open_session(deployment, spec) as session:
            answer = session.conversation.ask({"op": "unlock", "yes": yes}, Unlocked)
        return {"host": spec.name, "holder": answer["holder"], "outcome": answer["outcome"]}

    return values(run_on_hosts(chosen(deployment, hosts), act))


def _apply_proven(
    session: HostConversation, front: Front | None, plan: Plan, interrupt: Interrupt | None, proof: proofs.Known | None
) -> HostOutcome:
    return apply_behind(front, session, plan, interrupt, evidence=proof.demand(session, plan) if proof else ())


def demand_done(deployment: Deployment, names: Sequence[str] | None) -> None:
    """Where the host that runs what runs once is left out, that must have run there for this very release.

    Raises:
        Refused: it has not.
    """
    if not names or deployment.runner in chosen(deployment, names):
        return
    with open_session(deployment, deployment.runner) as session:
        planned = plan_up(session, "stable")
    open_ = [each.name for each in planned.once if each.do == "run"]
    if open_ or (planned.refused and not planned.once):
        raise errors.Refused(
            f"{', '.join(f'once.{name}' for name in open_) or 'what runs once'} has not run for this release.",
            why="It runs on the target's first host, which is not among those that are named.",
            host=deployment.runner.name,
            next_step=f"deploy up --host {deployment.runner.name}, then the others",
        )
