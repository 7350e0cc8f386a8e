"""All hosts of a target, in its batches: what fails stops those that follow, and may bring the others back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from provision import errors
from provision.contract.slots import CANARY
from provision.hosts import HostResult, HostSpec, run_on_hosts
from provision.rollout.batches import batches
from provision.rollout.hosts import chosen, values
from provision.targets import Deployment, HostConversation, HostOutcome, Interrupt, open_session, plan_move
from provision.targets.front import Front, apply_behind, front_of

Act = Callable[[HostConversation, Front | None], HostOutcome]


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
    for group in _groups(deployment, specs, alone):
        done += run_on_hosts(group, act, on_interrupt=ask_all, holds=holds)
        if any(result.error is not None for result in done):
            break
    declared_wrong = any(isinstance(result.error, errors.DeclarationError) for result in done)
    if len(specs) == 1 or declared_wrong or all(result.error is None for result in done):
        return values(done)
    reverted = _revert(deployment, done, front) if goes_back and rollout.on_failure == "revert" else []
    raise _some_failed(specs, done, reverted, goes_back=goes_back)


def _groups(deployment: Deployment, specs: Sequence[HostSpec], alone: HostSpec | None) -> list[list[HostSpec]]:
    rollout = deployment.target.rollout
    if alone is None or alone not in specs:
        return batches(specs, rollout.canary, rollout.batch)
    rest = [spec for spec in specs if spec != alone]  # who begins when it is done
    return [[alone], *(batches(rest, max(0, rollout.canary - 1), rollout.batch) if rest else [])]


def earlier(deployment: Deployment, names: Sequence[str] | None) -> dict[str, list[str]]:
    """By host, those of earlier batches, whose users see a release by steps before its own do."""
    found: dict[str, list[str]] = {}
    before: list[str] = []
    alone = deployment.runner if deployment.runs_once else None
    for group in _groups(deployment, chosen(deployment, names), alone):
        found |= {spec.name: list(before) for spec in group}
        before += [spec.name for spec in group]
    return found


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
            # A canary that was there before is not on the way back: what serves is stable's, which never moved.
            back = old and before.plan.channel != CANARY
            kind, channel = ("rollback", "stable") if back else ("down", before.plan.channel)
            release = old if back else ""
            planned = plan_move(session, kind, release=release, channel=channel, claim=True)
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
