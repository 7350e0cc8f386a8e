"""From a request to a `Change`: under the locks, with the host's own state, and only if it is what was planned."""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, replace
from typing import Any, Callable, Dict, List, Set

from . import boot, control, decide, facts, files, launch, moved, prune, recover, supervision, whose
from . import state as states
from .documents import digest_of, read_documents, service_of
from .layout import Layout, host_folder
from .locks import Lock, refuse
from .protocol import REFUSED, UNCHANGED, AgentError, Message, NewerHost
from .prove import NotProven
from .state import Program, State
from .supervisors import Supervisor, open_supervisor
from .transaction import Change, Transaction

_HOST_LOCK_SECONDS = 600.0  # another project's transaction on the same supervisor is waited for
_PROJECT_LOCK_SECONDS = 3.0  # the last one may still be pruning


def perform(
    layout: Layout,
    agent: str,
    transaction: str,
    request: Message,
    emit: Callable[[Message], None],
    aborted: Callable[[], bool],
) -> Message:
    """Carry out a `transaction` request. Runs in the worker; holds both locks to the end.

    Raises:
        AgentError: refused, put back or degraded.
    """
    locks = _take_locks(layout, transaction, request, emit)
    whose.check(layout, request["project"], request["take_over"])
    degraded = _end_open_transaction(layout, agent, emit)
    before = states.read(layout)
    supervisor = _supervisor(layout, before, request)
    supervisor.logins = request.get("logins") or {}
    if not (supervisor.gone() and supervisor.starts()):
        supervisor.ready()
    hook = boot.register(layout, agent, supervisor.kind)
    if not hook:
        emit(
            {
                "event": "warning",
                "text": "nothing on this host starts us after a reboot: no systemd, cron or onstart.sh",
            }
        )
    _same_generation(before, request["generation"])
    channels = _channels(layout, before, request)
    wanted = set(channels.values()) | {program.release for program in before.programs.values()}
    documents = read_documents(layout, wanted)
    for release in channels.values():
        if release not in documents:
            raise AgentError(REFUSED, f"release {release[:12]} is not on this host.", next_step="deploy history")
        _is_meant_for(documents[release], release, request["project"], supervisor.kind)
    view = facts.view(layout, supervisor, before, bool(request.get("gpus")))
    rotated = {name for name, secret in request["secrets"].items() if "value" in secret}
    steps = decide.decide(before, channels, documents, view, rotated)
    _same_as_planned(steps, request.get("steps"))
    # Only now: what has run without its supervisor was planned to be started anew, and after this it runs.
    supervision.restore(layout, supervisor, emit)
    if degraded:
        # Nothing that runs can be trusted to be what the state says.
        steps = [_again(step) for step in steps]
    values = dict(launch.current_secrets(layout, before))
    versions = dict(before.secrets)
    for name, secret in request["secrets"].items():
        if "value" in secret:
            values[name], versions[name] = secret["value"], secrets.token_hex(8)
    after = _after(before, supervisor.kind, channels, documents, steps, versions, transaction)
    after = replace(after, version=str(request.get("version", "")), project=request["project"])
    _secrets_are_there(after, values)
    if channels == before.channels and all(step.do == decide.KEEP for step in steps) and not degraded:
        return {"event": "result", "outcome": UNCHANGED, "generation": before.generation, "channels": channels}
    change = Change(transaction, request["kind"], request["who"], agent, before, after, steps, documents, values)
    try:
        return Transaction(layout, supervisor, emit, aborted).run(change, view)
    finally:
        if not os.path.exists(layout.journal):
            _tidy(layout, supervisor, agent, int(request.get("keep", 3)), emit)
        for lock in locks:
            lock.release()


def _supervisor(layout: Layout, before: State, request: Message) -> Supervisor:
    """The one that the target names, from now on; for `down` the one that has the programs, whichever is named."""
    asked = open_supervisor(layout, request["platform"], request.get("supervisor"))
    if request["kind"] == "down":
        there = moved.serving(layout, before, asked)
        if there is not asked:
            return there
    moved.check(layout, before, asked)
    files.write_json(os.path.join(layout.private, "supervisor.json"), request.get("supervisor") or {})
    return asked


def _is_meant_for(document: Dict[str, Any], release: str, project: str, platform: str) -> None:
    """A release of before another project, or another supervisor, took the place is none to go back to."""
    for what, meant, here in (("project", document["project"], project), ("platform", document["platform"], platform)):
        if meant != here:
            raise AgentError(
                REFUSED, f"release {release[:12]} is of {what} {meant!r}, and this is {here!r}.", next_step="deploy up"
            )


def _tidy(layout: Layout, supervisor: Supervisor, agent: str, keep: int, emit: Callable[[Message], None]) -> None:
    """What is left to do once a transaction has ended; how it ended does not depend on it."""
    try:
        gone = prune.prune(layout, keep, agent)
        if gone:
            emit({"event": "pruned", "releases": gone})
        supervisor.tidy(_manifests(layout, supervisor.kind))
        control.refresh(layout, agent)
    except (AgentError, OSError) as failure:
        emit({"event": "warning", "text": f"old releases could not be tidied away: {failure}"})


def _manifests(layout: Layout, platform: str) -> List[str]:
    """Those of every release for `platform` that is on this host, in all lanes."""
    names = [name for name in os.listdir(layout.releases) if os.path.exists(layout.document(name))]
    documents = read_documents(layout, names).values()
    ours = [document for document in documents if document["platform"] == platform]
    lanes = [lane for document in ours for lane in document["lanes"].values()]
    return [service["manifest"]["text"] for lane in lanes for service in lane["services"]]


def _take_locks(layout: Layout, transaction: str, request: Message, emit: Callable[[Message], None]) -> List[Lock]:
    who = {"who": request["who"], "doing": request["kind"], "transaction": transaction}
    project, host = Lock(layout.lock), Lock(os.path.join(host_folder(), "lock"))
    if not project.take(who, _PROJECT_LOCK_SECONDS):
        raise refuse("another transaction of this project is running.", project.holder() or {})
    files.make_folder(host_folder())
    if not host.take(dict(who, project=layout.root)):
        emit({"event": "step", "step": "wait", "program": "", "detail": "for another project's transaction"})
        if not host.take(dict(who, project=layout.root), _HOST_LOCK_SECONDS):
            raise refuse("another project's transaction keeps this host busy.", host.holder() or {})
    return [host, project]


def _same_generation(before: State, planned: Any) -> None:
    if planned is not None and before.generation != planned:
        raise AgentError(
            REFUSED,
            f"somebody deployed since: the plan is for generation {planned}, the host is at {before.generation}.",
            next_step="look at it with: deploy status; then deploy plan, and deploy up again",
        )


def _end_open_transaction(layout: Layout, agent: str, emit: Callable[[Message], None]) -> bool:
    """Whether an older transaction is open that can neither be finished nor undone."""
    if not os.path.exists(layout.journal):
        return False
    emit({"event": "step", "step": "recover", "program": "", "detail": "an interrupted transaction"})
    try:
        done = recover.recover(layout, agent, emit)
    except NewerHost:
        raise
    except (NotProven, AgentError, OSError) as failure:
        emit(
            {"event": "warning", "text": f"the interrupted transaction can't be undone: {failure}; going on from here"}
        )
        return True
    emit({"event": "recovered", "outcome": done})
    return False


def _channels(layout: Layout, before: State, request: Message) -> Dict[str, str]:
    """Which release each channel is to have."""
    kind = request["kind"]
    if kind == "up":
        kept = before.channels if before.project in ("", request["project"]) else {}
        return dict(kept, **{request["channel"]: request["release"]})
    if kind == "promote":
        canary = before.channels.get("canary")
        if canary is None:
            raise AgentError(
                REFUSED, "there is no canary to promote.", next_step="deploy up --channel canary, then deploy promote"
            )
        return {"stable": canary}
    if kind == "rollback":
        target = request.get("release") or states.way_back(layout, before, states.history(layout))
        if target is None:
            raise AgentError(REFUSED, "there is no earlier release to go back to.", next_step="deploy history")
        return dict(before.channels, stable=target)
    if kind == "down":
        gone = request.get("channel")
        return {name: release for name, release in before.channels.items() if gone and name != gone}
    raise AgentError(REFUSED, f"unknown kind of transaction {kind!r}")


def _same_as_planned(steps: List[decide.Step], planned: Any) -> None:
    """The plan that was shown is the one that is applied."""
    if planned is None:
        return
    now = {step.program: step.do for step in steps}
    then = {step["program"]: step["do"] for step in planned}
    if now != then:
        changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        raise AgentError(
            REFUSED,
            "the host changed since the plan was made: {}.".format(
                ", ".join(
                    f"{name} (planned: {then.get(name, 'nothing')}, now: {now.get(name, 'nothing')})"
                    for name in changed
                )
            ),
            next_step="deploy plan, and deploy up again",
        )


def _again(step: decide.Step) -> decide.Step:
    if step.do != decide.KEEP:
        return decide.Step(**dict(asdict(step), how=decide.IN_PLACE))
    return decide.Step(step.program, step.service, step.lane, decide.RESTART, decide.IN_PLACE, "the host was degraded")


def _after(
    before: State,
    platform: str,
    channels: Dict[str, str],
    documents: Dict[str, Dict[str, Any]],
    steps: List[decide.Step],
    versions: Dict[str, str],
    transaction: str,
) -> State:
    programs: Dict[str, Program] = {}
    used: Set[str] = set()
    for step in steps:
        if step.do == decide.REMOVE:
            continue
        if step.do == decide.KEEP:
            programs[step.program] = before.programs[step.program]
        else:
            release = channels[step.lane]
            record = Program(step.service, step.lane, release, "", "")
            service = service_of(documents, step.program, record)
            programs[step.program] = Program(
                service=step.service,
                lane=step.lane,
                release=release,
                launch=f"{before.generation + 1}-{transaction}",
                fingerprint=service["fingerprint"],
                on_demand=service["on_demand"],
                manifest=service["manifest"]["name"],
                manifest_sha256=digest_of(service["manifest"]["text"]),
                secrets={name: versions.get(name, "") for name in service["secrets"]},
            )
        used |= set(programs[step.program].secrets)
    return states.advance(
        before,
        platform=platform,
        channels=channels,
        programs=programs,
        secrets={name: version for name, version in versions.items() if name in used},
    )


def _secrets_are_there(after: State, values: Dict[str, str]) -> None:
    missing = sorted({name for program in after.programs.values() for name in program.secrets if name not in values})
    if missing:
        raise AgentError(
            REFUSED,
            "the value of secret {} is not known on this host.".format(", ".join(missing)),
            next_step="put it into .env and deploy up, which brings today's values along",
        )
