"""What is done for each request but `facts`, which most conversations ask for alone."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Set

from ..contract.failure import REFUSED, Failure
from ..contract.layout import SHIPPED
from ..contract.outcome import MISMATCH
from . import (
    builder,
    checks,
    engines,
    environments,
    evidence,
    facts,
    failed,
    files,
    launch,
    mend,
    models,
    moved,
    outside,
    previews,
    prove,
    seal,
    speeds,
    work,
    worker,
)
from . import state as states
from .checks.here import Here
from .masks import Masks
from .supervisors import open_supervisor, options
from .takeover import give_back, login

if TYPE_CHECKING:
    from ..contract import answers, bringing, lent, peers, requests
    from ..contract.records import Begun
    from .session import Conversation


def _incoming(session: Conversation, request: bringing.Incoming) -> answers.Folder:
    """A folder that rsync may write to, which runs as the login user even where the agent runs under sudo."""
    layout = session.layout
    folder = models.receive(layout, request["sha256"]) if "sha256" in request else layout.incoming(request["nonce"])
    files.make_folder(folder)
    give_back(folder, login())
    return {"event": "result", "folder": folder}


def _discard(session: Conversation, request: bringing.Discard) -> answers.Done:
    """Remove an upload that filled the disk: what runs there needs the room."""
    layout, folder = session.layout, os.path.normpath(request["folder"])
    parent, name = os.path.split(folder)
    if parent in (layout.releases, layout.models, layout.engines, layout.haproxies) and name.startswith(".incoming-"):
        files.remove_tree(folder)
    return {"event": "result"}


def _adopt_model(session: Conversation, request: bringing.AdoptModel) -> answers.Present:
    answer = models.adopt(session.layout, request["sha256"], request["name"], session.emit)
    speeds.note(session.layout, SHIPPED, request["came"]["bytes"], request["came"]["seconds"])
    return answer


def _fetch_model(session: Conversation, request: bringing.FetchModel) -> answers.Present:
    from . import fetch  # brings http and TLS, which only this needs

    there, since = models.arrived(session.layout).get(request["sha256"], 0), time.monotonic()
    answer = fetch.fetch(session.layout, request, session.emit, session.stop_if_asked, session.lending)
    if not answer["present"]:
        speeds.note(session.layout, request["source"], request["bytes"] - there, time.monotonic() - since)
    return answer


def _lend_model(session: Conversation, request: lent.LendModel) -> answers.Lent:
    from . import lend  # brings TLS, which only several hosts with a model need

    _lend_over(session, {"op": "lend-over"})
    session.lending = lend.Lending(session.layout, request)
    return session.lending.answer()


def _lend_over(session: Conversation, _: lent.LendOver) -> answers.Done:
    if session.lending is not None:
        session.lending.close()
        session.lending = None
    return {"event": "result"}


def _models(session: Conversation, request: bringing.KeepModels) -> answers.KeptModels:
    from . import kept_models  # of who asks for them alone

    return kept_models.answer(session, request)


def _incoming_engine(session: Conversation, request: bringing.IncomingEngine) -> answers.EngineFolder:
    found = engines.incoming(session.layout, request["engine"], request["wheels"], facts.cpu()["features"])
    give_back(found["folder"], login())
    return found


def _adopt_engine(session: Conversation, request: bringing.AdoptEngine) -> answers.Present:
    return engines.adopt(session.layout, request, session.emit)


def _incoming_haproxy(session: Conversation, request: bringing.ShipHaproxy) -> answers.HaproxyFolder:
    from . import shipped  # of hosts with traffic alone

    found = shipped.incoming(session.layout, request["haproxy"])
    give_back(found["folder"], login())
    return found


def _adopt_haproxy(session: Conversation, request: bringing.ShipHaproxy) -> answers.Present:
    from . import shipped

    return shipped.adopt(session.layout, request["haproxy"])


def _incoming_environment(session: Conversation, request: bringing.IncomingEnvironment) -> answers.EnvironmentFolder:
    found = environments.incoming(session.layout, request)
    give_back(found["folder"], login())
    return found


def _find_python(session: Conversation, request: bringing.BuildEnvironment) -> answers.PythonFound:
    found = builder.Builder(session.layout, request, session.emit, session.stop_if_asked).python()
    give_back(session.layout.incoming_wheels, login())  # the wheels come next
    return found


def _build_environment(session: Conversation, request: bringing.BuildEnvironment) -> answers.Present:
    return builder.Builder(session.layout, request, session.emit, session.stop_if_asked).build()


def _seal(session: Conversation, request: requests.Seal) -> answers.Done:
    began = time.time()
    try:
        seal.seal(session.layout, request, session.emit, session.stop_if_asked)
    except Failure as error:
        if error.kind != REFUSED:
            header = session.header
            begun: Begun = {"kind": "up", "who": header["who"], "time": began, "transaction": worker.new_transaction()}
            with contextlib.suppress(OSError):  # a full disk
                failed.note(session.layout, begun, {}, error.kind, error.sentence, request["secrets"].items())
        raise
    return {"event": "result"}


def _transaction(session: Conversation, request: requests.TransactionRequest) -> Mapping[str, object]:
    if "seal" in request:
        try:
            _seal(session, request["seal"])
        except seal.Mismatch as mismatch:
            return _differs(mismatch.entries)
    return work.transact(session, request)


def _differs(entries: Dict[str, str]) -> answers.Transacted:
    return {"event": "result", "outcome": MISMATCH, "entries": entries}


def _probe(session: Conversation, request: requests.Probe) -> answers.Probed:
    layout, check, program = session.layout, request["check"], request["program"]
    platform = states.read_state(layout).platform
    is_bench = check["kind"] == "bench"
    supervisor = None
    if platform and (check.get("token") or is_bench):
        supervisor = open_supervisor(layout, platform, options(layout))
    if is_bench:
        from . import measured  # of who measures by hand alone

        check = measured.priced(check)

    def members() -> Set[int]:
        return supervisor.members(program) if supervisor else set()

    bearer = prove.bearer(supervisor, program, check) if supervisor else None
    here = Here(layout.channel(request["channel"]), bearer, members=members, watch=session.stop_if_asked)
    outcome = checks.prove(check, here, session.stop_if_asked)
    masks = Masks(launch.every_secret(layout))
    return {"event": "result", "check": masks.message(checks.event(outcome, ""))}


def _evidence(session: Conversation, request: requests.ReadEvidence) -> answers.EvidenceKept:
    return {"event": "result", "releases": evidence.read(session.layout, request["releases"])}


def _keep_evidence(session: Conversation, request: requests.KeepEvidence) -> answers.Done:
    evidence.keep(session.layout, request["release"], request["signed"])
    return {"event": "result"}


def _down_outside(session: Conversation, request: requests.Outside) -> answers.Down:
    supervisor = open_supervisor(session.layout, request["platform"], request["supervisor"])
    return outside.down(session.layout, supervisor, session.header["project"], session.fault, session.emit)


def _mend(session: Conversation, request: requests.Outside) -> answers.Mended:
    supervisor = open_supervisor(session.layout, request["platform"], request["supervisor"])
    answer = mend.mend(session.layout, supervisor, session.fault, session.emit)
    session.fault = None
    return answer


def _logs(session: Conversation, request: requests.Logs) -> answers.Logs:
    supervisor = open_supervisor(session.layout, request["platform"], request["supervisor"])
    if session.fault is not None:
        outside.demand_no_link(session.layout, supervisor)
    else:
        supervisor = moved.serving(session.layout, states.read_state(session.layout), supervisor)
    logs: Dict[str, List[str]] = {}
    untimed = []
    since = time.time() - request["ago"]
    for program in request["programs"]:
        if request["ago"]:
            logs[program], timed = supervisor.log_since(program, since, request["lines"])
            untimed += [] if timed else [program]
        else:
            logs[program] = supervisor.log_tail(program, request["lines"], exact=True)
    return {"event": "result", "logs": logs, "untimed": untimed}


def _traffic(session: Conversation, request: requests.ReadTraffic) -> answers.Traffic:
    from . import seen  # of hosts with traffic alone

    return seen.read(session.layout, request["minutes"], request.get("points", 0))


def _introduce(session: Conversation, request: peers.Introduce) -> answers.Introduced:
    from . import introduced  # of hosts behind a front, or with one, alone

    return introduced.introduce(session.layout, session.header, request)


def _preview(session: Conversation, request: requests.Preview) -> answers.Done:
    previews.note(session.layout, session.header["who"], request)
    return {"event": "result"}


def _forget_preview(session: Conversation, request: requests.ForgetPreview) -> answers.Done:
    previews.forget(session.layout, session.header["who"], request["name"])
    return {"event": "result"}


BY_NAME: Dict[str, Callable[[Conversation, Any], Mapping[str, object]]] = {
    "seal": _seal,
    "incoming": _incoming,
    "discard": _discard,
    "adopt-model": _adopt_model,
    "fetch-model": _fetch_model,
    "lend-model": _lend_model,
    "lend-over": _lend_over,
    "models": _models,
    "incoming-engine": _incoming_engine,
    "adopt-engine": _adopt_engine,
    "incoming-haproxy": _incoming_haproxy,
    "adopt-haproxy": _adopt_haproxy,
    "incoming-environment": _incoming_environment,
    "find-python": _find_python,
    "build-environment": _build_environment,
    "transaction": _transaction,
    "recover": work.recover,
    "unlock": work.unlock,
    "weigh": work.weigh,
    "rollout": work.steer,
    "introduce": _introduce,
    "peers": work.change_peers,
    "traffic": _traffic,
    "logs": _logs,
    "down-outside": _down_outside,
    "mend": _mend,
    "probe": _probe,
    "evidence": _evidence,
    "keep-evidence": _keep_evidence,
    "preview": _preview,
    "forget-preview": _forget_preview,
}
