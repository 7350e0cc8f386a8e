"""From a request to a `Change`: under the locks, with the host's own state, and only if it is what was planned."""

from __future__ import annotations

import os
import secrets
import time
from typing import TYPE_CHECKING, Callable, List, Mapping, Optional, Set

from ..contract import devices, on_purpose
from ..contract import once as once_rules
from ..contract.channels import channels_after, demand_there, moved_lane
from ..contract.decide import decide
from ..contract.failure import REFUSED, Failure
from ..contract.host_view import HostView
from ..contract.layout import Layout
from ..contract.outcome import UNCHANGED
from ..contract.state import State
from ..contract.steps import Do, Step
from . import boot, control, evidence, facts, failed, files, launch, moved, prune, shares, supervision, whose
from . import state as states
from .admitted import end_open_transaction, is_meant_for, locked, same_as_planned, same_generation
from .after import after, again, demand_secrets
from .change import Change
from .documents import read_documents
from .keeper import scripts
from .once import NOTHING_ASKED
from .supervisors import Supervisor, open_supervisor
from .transaction import Transaction

if TYPE_CHECKING:
    from ..contract.answers import Transacted
    from ..contract.events import Emit
    from ..contract.records import Begun, Noted
    from ..contract.release import ReleaseDocument
    from ..contract.requests import Header, TransactionRequest


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
    with locked(layout, transaction, header["who"], request["kind"], emit):
        return _perform(layout, header, transaction, request, emit, aborted, demand)


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
    degraded = end_open_transaction(layout, agent, request["kind"], emit)
    before = states.read_state(layout)
    demand(before)
    supervisor = _supervisor(layout, before, request)
    supervisor.logins = request["logins"]
    if not (supervisor.gone() and supervisor.starts()):
        supervisor.ready()
    unhooked = boot.register(layout, agent, supervisor.kind)
    if unhooked:
        emit({"event": "warning", "text": unhooked})
    same_generation(before, request["generation"])
    shares.demand_free(before, request)
    back = lambda: states.way_back(layout, before, states.history(layout))  # noqa: E731
    channels = channels_after(request["kind"], request["channel"], request["release"], before, project, back)
    documents = read_documents(layout, before.releases() | set(channels.values()))
    demand_there(channels, documents)
    for release in channels.values():
        is_meant_for(documents[release], release, project, supervisor.kind)
    view = facts.view(layout, supervisor, before, request["gpus"] or devices.decides(documents))
    rotated = {name for name, secret in request["secrets"].items() if "value" in secret}
    steps = _steps(request, before, channels, documents, view, rotated)
    same_as_planned(steps, request["steps"])
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
