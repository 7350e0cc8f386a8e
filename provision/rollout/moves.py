"""What changes hosts: up, promote, rollback, down; restart, start, stop; mend, unlock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from provision import errors
from provision.contract.answers import Mended, Unlocked
from provision.contract.slots import STABLE
from provision.hosts import HostResult, HostSpec, run_on_hosts
from provision.rollout import proof as proofs
from provision.rollout.batches import batches
from provision.rollout.hosts import chosen, values
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
from provision.targets.front import Front, apply_behind, front_of
from provision.targets.shares import channel_by_itself, demand_share

if TYPE_CHECKING:
    from provision.plan import Plan

Act = Callable[[HostConversation, Front | None], HostOutcome]


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

    def act(session: HostConversation, front: Front | None) -> HostOutcome:
        to = channel or channel_by_itself(session)
        planned = plan_up(session, to, claim=True, share=share, abort_rollout=abort_rollout)
        return _apply_proven(session, front, planned, interrupt, proof if to == STABLE else None)

    alone = deployment.runner if deployment.runs_once else None
    return on_all(deployment, act, interrupt, hosts, take_over, alone)


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


def on_all(
    deployment: Deployment,
    do: Act,
    interrupt: Interrupt | None,
    names: Sequence[str] | None,
    take_over: str = "",
    alone: HostSpec | None = None,
    *,
    goes_back: bool = True,
) -> list[HostOutcome]:
    """Do it on all hosts, or those named, in the batches of the target; raises as `up` does."""
    with front_of(deployment) as front:
        return _on_all(deployment, do, interrupt, names, take_over, alone, front, goes_back=goes_back)


def _on_all(
    deployment: Deployment,
    do: Act,
    interrupt: Interrupt | None,
    names: Sequence[str] | None,
    take_over: str,
    alone: HostSpec | None,
    front: Front | None,
    *,
    goes_back: bool,
) -> list[HostOutcome]:
    def act(spec: HostSpec) -> HostOutcome:
        with open_session(deployment, spec, install=True, take_over=take_over) as session:
            return do(session, front)

    def ask_all() -> None:
        if interrupt:
            interrupt.request()

    def holds(spec: HostSpec) -> bool:  # who can't be asked goes to its end
        return interrupt is None or interrupt.holds(spec.name)

    specs = chosen(deployment, names)
    deployment.fleet.expect(specs)
    rollout = deployment.target.rollout
    done: list[HostResult[HostOutcome]] = []
    groups = batches(specs, rollout.canary, rollout.batch)
    if alone in specs:  # nobody else begins before it is done
        rest = [spec for spec in specs if spec != alone]
        groups = [[alone], *batches(rest, max(0, rollout.canary - 1), rollout.batch)] if rest else [[alone]]
    for group in groups:
        done += run_on_hosts(group, act, on_interrupt=ask_all, holds=holds)
        if any(result.error is not None for result in done):
            break
    declared_wrong = any(isinstance(result.error, errors.DeclarationError) for result in done)
    if len(specs) == 1 or declared_wrong or all(result.error is None for result in done):
        return values(done)
    reverted = _revert(deployment, done, front) if goes_back and rollout.on_failure == "revert" else []
    raise _some_failed(specs, done, reverted, goes_back=goes_back)


def _revert(
    deployment: Deployment, done: Sequence[HostResult[HostOutcome]], front: Front | None
) -> list[HostResult[HostOutcome]]:
    """Let the hosts that committed go back to what each had before."""
    committed = {
        result.spec.name: result.value for result in done if result.value and result.value.outcome == "committed"
    }

    def act(spec: HostSpec) -> HostOutcome:
        before = committed[spec.name]
        assert before is not None  # noqa: S101  (they committed)
        if before.plan.taken_from:
            raise errors.DeployError(
                f"it took the place of project {before.plan.taken_from}, which only that project can take back.",
                host=spec.name,
                next_step=f"there: deploy up --take-over {deployment.loaded.project.name}",
            )
        old = before.plan.current
        with open_session(deployment, spec, install=True) as session:
            kind, channel = ("rollback", "stable") if old else ("down", before.plan.channel)
            planned = plan_move(session, kind, release=old, channel=channel, claim=True)
            return apply_behind(front, session, planned, begun)

    begun = Interrupt()  # asks for nothing: what was begun goes to its end
    specs = [result.spec for result in done if result.spec.name in committed]
    return run_on_hosts(specs, act, on_interrupt=lambda: None, holds=lambda spec: begun.holds(spec.name))


def _some_failed(
    specs: Sequence[HostSpec],
    done: Sequence[HostResult[HostOutcome]],
    reverted: Sequence[HostResult[HostOutcome]],
    *,
    goes_back: bool,
) -> errors.DeployError:
    failed = [result for result in done if result.error is not None]
    for result in failed:
        if not isinstance(result.error, errors.DeployError):
            return errors.DeployError(f"{type(result.error).__name__}: {result.error}", host=result.spec.name)
    committed_is = "has the new release" if goes_back else "is done"
    went_back = {result.spec.name for result in reverted if result.error is None}
    lines = [str(result.error) for result in failed]
    for result in done:
        if result.error is None:
            state = "went back to its old release" if result.spec.name in went_back else committed_is
            lines.append(f"{result.spec.name}: {state}.")
    lines += [str(result.error) for result in reverted if result.error is not None]
    untouched = len(specs) - len(done)
    if untouched:
        lines.append(f"{untouched} hosts were not begun.")
    degraded = any(isinstance(result.error, errors.Degraded) for result in [*failed, *reverted])
    kind = errors.Degraded if degraded else errors.SomeHostsFailed
    next_step = "deploy status, then deploy up" if goes_back else "deploy status"
    return kind(f"{len(failed)} of {len(specs)} hosts failed.", why="\n".join(lines), next_step=next_step)
