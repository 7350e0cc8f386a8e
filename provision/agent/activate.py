"""From a request to a `Change`: under the locks, with the host's own state, and only if it is what was planned."""

from __future__ import annotations

import os
import secrets
import time
from typing import TYPE_CHECKING, Callable, List, Mapping, Optional, Sequence, Set

from ..contract import devices, on_purpose
from ..contract import once as once_rules
from ..contract.channels import channels_after, demand_there, moved_lane
from ..contract.decide import decide
from ..contract.failure import REFUSED, Failure, NewerHost
from ..contract.host_view import HostView
from ..contract.layout import Layout
from ..contract.outcome import UNCHANGED
from ..contract.state import State
from ..contract.steps import Do, Step
from . import boot, control, evidence, facts, failed, files, launch, moved, prune, recover, shares, supervision, whose
from . import state as states
from .after import after, again, demand_secrets
from .change import Change
from .documents import read_documents
from .ending import settle
from .folders import host_folder
from .keeper import scripts
from .locks import Lock, refuse
from .once import NOTHING_ASKED
from .supervisors import Supervisor, open_supervisor
from .transaction import Transaction

if TYPE_CHECKING:
    from ..contract.answers import Transacted
    from ..contract.events import Emit
    from ..contract.records import Begun, Holder, Noted
    from ..contract.release import ReleaseDocument
    from ..contract.requests import Header, PlannedStep, TransactionRequest

_HOST_LOCK_SECONDS = 600.0  # another project's transaction on the same supervisor is waited for
_PROJECT_LOCK_SECONDS = 3.0  # the last one may still be pruning


def perform(
    layout: Layout,
    header: Header,
    transaction: str,
    request: TransactionRequest,
    emit: Emit,
    aborted: Callable[[], bool],
    demand: Callable[[State], None] = lambda _: None,
) -> Transacted:
    """Carry out a `transaction` request. Runs in the worker; holds both locks to the end.

    Args:
        demand: raises, under the locks, where the state is none any more that this was decided for.

    Raises:
        Failure: refused, put back or degraded.
    """
    locks = _take_locks(layout, transaction, header["who"], request["kind"], emit)
    try:
        return _perform(layout, header, transaction, request, emit, aborted, demand)
    finally:  # also of what was refused: who asked may have more to do in this very process
        for lock in locks:
            lock.release()


def _perform(
    layout: Layout,
    header: Header,
    transaction: str,
    request: TransactionRequest,
    emit: Emit,
    aborted: Callable[[], bool],
    demand: Callable[[State], None],
) -> Transacted:
    agent, project = header["agent"], header["project"]
    whose.check(layout, project, header["take_over"])
    degraded = _end_open_transaction(layout, agent, request["kind"], emit)
    before = states.read_state(layout)
    demand(before)
    supervisor = _supervisor(layout, before, request)
    supervisor.logins = request["logins"]
    if not (supervisor.gone() and supervisor.starts()):
        supervisor.ready()
    unhooked = boot.register(layout, agent, supervisor.kind)
    if unhooked:
        emit({"event": "warning", "text": unhooked})
    _same_generation(before, request["generation"])
    shares.demand_free(before, request)
    back = lambda: states.way_back(layout, before, states.history(layout))  # noqa: E731
    channels = channels_after(request["kind"], request["channel"], request["release"], before, project, back)
    documents = read_documents(layout, before.releases() | set(channels.values()))
    demand_there(channels, documents)
    for release in channels.values():
        _is_meant_for(documents[release], release, project, supervisor.kind)
    view = facts.view(layout, supervisor, before, request["gpus"] or devices.decides(documents))
    rotated = {name for name, secret in request["secrets"].items() if "value" in secret}
    steps = _steps(request, before, channels, documents, view, rotated)
    _same_as_planned(steps, request["steps"])
    # Only now: what has run without its supervisor was planned to be started anew, and after this it runs.
    supervision.restore(layout, supervisor, emit)
    if degraded:
        # Nothing that runs can be trusted to be what the state says.
        steps = [again(step) for step in steps]
    values = dict(launch.current_secrets(layout, before))
    versions = dict(before.secrets)
    for name, secret in request["secrets"].items():
        if "value" in secret:
            values[name], versions[name] = secret["value"], secrets.token_hex(8)
    state = after(before, supervisor.kind, channels, documents, steps, versions, transaction, supervisor.at_rest)
    state = state._replace(version=header["version"], project=project)
    state = shares.shared(request, header["who"], transaction, before, state, documents)
    demand_secrets(state, values)
    scripts.stage(layout, before, supervisor, agent)
    asked = request.get("once", NOTHING_ASKED)
    commands = _once(layout, request, documents)
    same = (state.shares, state.rollout, channels) == (before.shares, before.rollout, before.channels)
    if same and all(step.do is Do.KEEP for step in steps) and not degraded and not commands:
        return {"event": "result", "outcome": UNCHANGED, "generation": before.generation, "channels": channels}
    noted: Noted = {
        "evidence": request.get("evidence", []),
        "images": request.get("images", {}),
        "services": request.get("services", []),
        "findings": request.get("findings", []),
    }
    if request.get("by_keeper"):
        noted["by_keeper"] = True
    change = Change(
        transaction,
        request["kind"],
        header["who"],
        agent,
        before,
        state,
        steps,
        documents,
        values,
        request.get("whole", False),
        noted,
        commands,
        request["release"],
        asked["runner"],
        asked["secrets"],
    )
    began = time.time()
    try:
        answer = Transaction(layout, supervisor, change, view, emit, aborted).run()
        _record(layout, change, request["channel"], began, emit)
        return answer
    except Failure as failed_:
        _record(layout, change, request["channel"], began, emit, failed_)
        _note(layout, change, began, emit, failed_)
        raise
    finally:
        if not os.path.exists(layout.journal):
            _tidy(layout, supervisor, agent, request["keep"], emit)


def _once(
    layout: Layout, request: TransactionRequest, documents: Mapping[str, ReleaseDocument]
) -> List[once_rules.Decided]:
    """The commands that run once for the release that comes, or are noted as done.

    Raises:
        Failure: nobody knows whether one of them is done.
    """
    if "once" not in request:
        return []
    asked, declared = request["once"], documents[request["release"]].get("once", {})
    decided = once_rules.decide(
        declared,
        states.once(layout),
        request["release"],
        runner=asked["runner"],
        again=asked["again"],
        done=asked["done"],
    )
    return [each for each in decided if each.do != once_rules.KEEP]


def _steps(
    request: TransactionRequest,
    before: State,
    channels: Mapping[str, str],
    documents: Mapping[str, ReleaseDocument],
    view: HostView,
    rotated: Set[str],
) -> List[Step]:
    if request["kind"] in on_purpose.KINDS:
        return on_purpose.steps(request["kind"], request.get("programs", ()), before, view)
    return decide(before, channels, documents, view, rotated, moved_lane(request["kind"], request["channel"]))


def _record(
    layout: Layout, change: Change, channel: str, began: float, emit: Emit, failed: Optional[Failure] = None
) -> None:
    """Keep what the checks saw; how the transaction ended does not depend on it."""
    try:
        own = change.kind in ("up", *on_purpose.KINDS)
        evidence.record(layout, change, channel if own else "stable", began, failed)
    except (OSError, ValueError, KeyError) as error:
        emit({"event": "warning", "text": f"what the checks saw could not be written down: {error}"})


def _note(layout: Layout, change: Change, began: float, emit: Emit, failed_: Failure) -> None:
    """Keep that it did not commit; of what was refused, nothing was tried."""
    if failed_.kind == REFUSED:
        return
    begun: Begun = {"kind": change.kind, "who": change.who, "time": began, "transaction": change.transaction}
    try:
        channels = change.after.channels
        failed.note(layout, begun, channels, failed_.kind, failed_.sentence, change.secrets.items())
    except OSError as error:
        emit({"event": "warning", "text": f"that it failed could not be written down for deploy history: {error}"})


def _supervisor(layout: Layout, before: State, request: TransactionRequest) -> Supervisor:
    """The one that the target names, from now on; for `down` the one that has the programs, whichever is named."""
    asked = open_supervisor(layout, request["platform"], request["supervisor"])
    if request["kind"] == "down":
        there = moved.serving(layout, before, asked)
        if there is not asked:
            return there
    moved.check(layout, before, asked)
    files.write_json(layout.supervisor, request["supervisor"])
    return asked


def _is_meant_for(document: ReleaseDocument, release: str, project: str, platform: str) -> None:
    """A release of before another project, or another supervisor, took the place is none to go back to."""
    for what, meant, here in (("project", document["project"], project), ("platform", document["platform"], platform)):
        if meant != here:
            raise Failure(
                REFUSED, f"release {release[:12]} is of {what} {meant!r}, and this is {here!r}.", next_step="deploy up"
            )


def _tidy(layout: Layout, supervisor: Supervisor, agent: str, keep: int, emit: Emit) -> None:
    """What is left to do once a transaction has ended; how it ended does not depend on it."""
    try:
        gone = prune.prune(layout, keep, agent, supervisor)
        if gone:
            emit({"event": "pruned", "releases": gone})
        for text in facts.occupied(layout, supervisor, states.read_state(layout)).values():
            emit({"event": "warning", "text": text})
        supervisor.tidy(_manifests(layout, supervisor.kind))
        control.refresh(layout, agent)
    except (Failure, OSError) as failure:
        emit({"event": "warning", "text": f"old releases could not be tidied away: {failure}"})


def _manifests(layout: Layout, platform: str) -> List[str]:
    """Those of every release for `platform` that is on this host, in all lanes."""
    names = [name for name in os.listdir(layout.releases) if os.path.exists(layout.document(name))]
    documents = read_documents(layout, names).values()
    ours = [document for document in documents if document["platform"] == platform]
    lanes = [lane for document in ours for lane in document["lanes"].values()]
    return [service["manifest"]["text"] for lane in lanes for service in lane["services"]]


def _take_locks(layout: Layout, transaction: str, who: str, kind: str, emit: Emit) -> List[Lock]:
    holder: Holder = {"who": who, "doing": kind, "transaction": transaction}
    project, host = Lock(layout.lock), Lock(os.path.join(host_folder(), "lock"))
    if not project.take(holder, _PROJECT_LOCK_SECONDS):
        raise refuse("another transaction of this project is running.", project.holder() or {})
    files.make_folder(host_folder())
    holder["project"] = layout.root
    if not host.take(holder):
        emit({"event": "step", "step": "wait", "program": "", "detail": "for another project's transaction"})
        if not host.take(holder, _HOST_LOCK_SECONDS):
            raise refuse("another project's transaction keeps this host busy.", host.holder() or {})
    return [host, project]


def _same_generation(before: State, planned: Optional[int]) -> None:
    if planned is not None and before.generation != planned:
        raise Failure(
            REFUSED,
            f"somebody deployed since: the plan is for generation {planned}, the host is at {before.generation}.",
            next_step="look at it with: deploy status; then deploy plan, and deploy up again",
        )


def _end_open_transaction(layout: Layout, agent: str, kind: str, emit: Emit) -> bool:
    """Whether an older transaction is open that can neither be finished nor undone.

    Raises:
        Failure: then what is to be done is refused, for it goes by what runs.
    """
    if not os.path.exists(layout.journal):
        settle(layout)
        return False
    emit({"event": "step", "step": "recover", "program": "", "detail": "an interrupted transaction"})
    try:
        done = recover.recover(layout, agent, emit)
    except NewerHost:
        raise
    except (Failure, OSError) as failure:
        if kind in on_purpose.KINDS:
            why = f"What runs is not surely what was deployed: {failure}"
            next_step = "deploy up, or deploy rollback"
            raise Failure(REFUSED, f"this host is degraded, so there is nothing to {kind}.", why, next_step) from None
        emit(
            {"event": "warning", "text": f"the interrupted transaction can't be undone: {failure}; going on from here"}
        )
        return True
    emit({"event": "recovered", "outcome": done})
    settle(layout)
    return False


def _same_as_planned(steps: Sequence[Step], planned: Optional[Sequence[PlannedStep]]) -> None:
    """The plan that was shown is the one that is applied."""
    if planned is None:
        return
    now = {step.program: _told(step.as_dict()) for step in steps}
    then = {step["program"]: _told(step) for step in planned}
    if now != then:
        changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        raise Failure(
            REFUSED,
            "the host changed since the plan was made: {}.".format(
                ", ".join(
                    f"{name} (planned: {then.get(name, 'nothing')}, now: {now.get(name, 'nothing')})"
                    for name in changed
                )
            ),
            next_step="deploy plan, and deploy up again",
        )


def _told(step: PlannedStep) -> str:
    """What is done to a program, for a sentence."""
    return " ".join([step["do"], *(f"on {devices.short(uuid)}" for uuid in step.get("devices", ()))])
