"""`deploy-ctl`: starts, stops and shows a project's services on demand, and nothing else.

The project's folder has it as a program. Who owns the project acts at once; everybody else asks the owner, through a
socket of systemd's or through sudo, and both are opened by files that people review and put there (`deploy render`).
No shell reads a word, and a service is named exactly.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
import time
from typing import Optional, Set, Tuple

from ..contract.failure import Failure
from ..contract.layout import CONTROL, Layout, control_socket, earlier_control_socket
from ..contract.state import Program, State
from . import files, launch, nearby
from . import state as states
from .alone import program
from .documents import read_documents, service_of
from .folders import sandbox_environment
from .masks import Masks
from .programs import Programs
from .supervisors import Activity, Supervisor, open_supervisor, options

DONE, FAILED, REFUSED, NOT_RUNNING = 0, 1, 2, 3  # the last as in the LSB, "status"

_ACTIONS = ("start", "stop", "status")
_USAGE = "deploy-ctl start|stop|status SERVICE"
_START_SECONDS = 10.0
_LIVES_SECONDS = 0.3  # what ends sooner did not start
_POLL = 0.03
_LOG_LINES = 5
_REQUEST_SECONDS, _REQUEST_BYTES = 5.0, 256

Answer = Tuple[int, str]


def refresh(layout: Layout, agent: str) -> None:
    """Have the program there where something is on demand, and only there."""
    path = os.path.join(layout.root, CONTROL)
    if not any(program.on_demand for program in states.read_state(layout).programs.values()):
        files.remove(path)
        return
    entry = os.path.join(layout.agents, agent, "deploy_agent", "__main__.py")
    project = {
        "owner": pwd.getpwuid(os.geteuid()).pw_name,
        "uid": os.geteuid(),
        "itself": path,
        "listens": control_socket(layout.root),
        "listens_apart": {user: control_socket(layout.root, user) for user in sorted(_askers(layout))},
        "earlier": earlier_control_socket(layout.root),
        "agent": [sys.executable, "-I", entry, "control", layout.root],
        "folder": os.path.join(layout.agents, agent),
        "environment": sandbox_environment(),
    }
    # Stands alone: who may not read the agent runs it.
    call = f"sys.exit(main(sys.argv[1:], Project(**{project!r})))"
    text = f"#!{sys.executable} -I\n" + program("alone/control", "trust", call=call)
    files.write_if_other(path, text, 0o755)


def main(layout: Layout, words: Tuple[str, ...]) -> int:
    """What the owner is asked for; the exit status."""
    if words == ("serve",):
        return _serve(layout)
    status, said = act(layout, words[0], words[1])
    print(said, file=sys.stdout if status in (DONE, NOT_RUNNING) else sys.stderr)
    return status


def act(layout: Layout, action: str, service: str, asker: Optional[str] = None) -> Answer:
    """Do it; an exit status and a sentence.

    Args:
        asker: the account that asks, where it is not the owner: it may what its services declare as `starts`.
    """
    if action not in _ACTIONS:
        return REFUSED, f'deploy-ctl knows {", ".join(_ACTIONS)}, and no "{action}".'
    try:
        return _act(layout, states.read_state(layout), action, service, asker)
    except (Failure, OSError) as failure:
        return FAILED, str(failure)


def _act(layout: Layout, state: State, action: str, service: str, asker: Optional[str]) -> Answer:
    named = {
        record.service: (name, record)
        for name, record in state.programs.items()
        if record.on_demand and record.lane == "stable"
    }
    if asker is not None:
        named = {name: named[name] for name in _startable(layout, state, asker) & set(named)}
    if service not in named:
        who = f" that {asker} may start" if asker is not None else ""
        known = f"It has: {', '.join(sorted(named))}." if named else "It has none."
        return REFUSED, f'this project has no service on demand{who} called "{service}". {known}'
    name, record = named[service]
    supervisor = open_supervisor(layout, state.platform, options(layout))
    return {"start": _start, "stop": _stop, "status": _status}[action](layout, supervisor, name, record)


def _askers(layout: Layout) -> Set[str]:
    """The accounts whose services may start others."""
    state = states.read_state(layout)
    documents = read_documents(layout, {record.release for record in state.programs.values()})
    described = (service_of(documents, name, record) for name, record in state.programs.items())
    return {service["user"] for service in described if service["user"] and service.get("starts")}


def _startable(layout: Layout, state: State, asker: str) -> Set[str]:
    """The services that those of `asker` declare as `starts`, as they run now."""
    documents = read_documents(layout, {record.release for record in state.programs.values()})
    described = (service_of(documents, name, record) for name, record in state.programs.items())
    return {other for service in described if service["user"] == asker for other in service.get("starts", ())}


def _start(layout: Layout, supervisor: Supervisor, name: str, record: Program) -> Answer:
    seen = supervisor.observe([name])[name]
    if seen.activity is Activity.RUNNING:
        return DONE, f"{record.service} runs already (pid {seen.pid})."
    supervisor.start([name])
    until, since = time.monotonic() + _START_SECONDS, 0.0
    while time.monotonic() < until:
        seen = supervisor.observe([name])[name]
        if seen.activity is Activity.RUNNING and seen.pid:
            since = since or time.monotonic()
            if time.monotonic() - since > _LIVES_SECONDS:
                return DONE, f"{record.service} is started (pid {seen.pid})."
        elif seen.activity is Activity.EXITED:
            break
        time.sleep(_POLL)
    ended = f"{record.service} {supervisor.how_it_ended(name, seen)}."
    try:
        masks = Masks(launch.every_secret(layout))  # who asks may be an account that must not know them
    except OSError as error:
        return FAILED, f"{ended} Its last words are not shown: what is secret in them can't be told ({error})."
    return FAILED, "\n  | ".join([ended, *map(masks.mask, supervisor.log_tail(name, _LOG_LINES))])


def _stop(layout: Layout, supervisor: Supervisor, name: str, record: Program) -> Answer:
    if supervisor.observe([name])[name].activity not in (Activity.RUNNING, Activity.STOPPING):
        return DONE, f"{record.service} does not run."
    service = service_of(read_documents(layout, [record.release]), name, record)
    Programs(layout, supervisor, lambda _: None).stop([service])
    return DONE, f"{record.service} is stopped."


def _status(_: Layout, supervisor: Supervisor, name: str, record: Program) -> Answer:
    seen = supervisor.observe([name])[name]
    if seen.activity is Activity.RUNNING:
        return DONE, f"{record.service} runs (pid {seen.pid})."
    return NOT_RUNNING, f"{record.service} does not run: {seen.detail or seen.activity.value}."


def _serve(layout: Layout) -> int:
    """Answer one request on the socket that is our standard input; the kernel says who asks."""
    try:
        connection = socket.socket(fileno=os.dup(0))
    except OSError:
        sys.stderr.write("systemd starts this for each request on its socket, and nobody else.\n")
        return REFUSED
    with connection:
        uid = nearby.peer(connection)
        try:
            words = _request(connection).split()
            asker = pwd.getpwuid(uid).pw_name
        except (OSError, KeyError):
            return REFUSED
        status, said = act(layout, words[0], words[1], asker) if len(words) == 2 else (REFUSED, _USAGE)
        connection.settimeout(_REQUEST_SECONDS)  # of `sendall`, for all of it
        connection.sendall(f"{status} {said}\n".encode())
        return DONE


def _request(connection: socket.socket) -> str:
    """The first line that comes; raises OSError where it is not there in time, however it comes."""
    until, said = time.monotonic() + _REQUEST_SECONDS, b""
    while b"\n" not in said and len(said) < _REQUEST_BYTES:
        connection.settimeout(max(0.001, until - time.monotonic()))
        block = connection.recv(_REQUEST_BYTES - len(said))
        if not block:
            break
        said += block
    return said.partition(b"\n")[0].decode("utf-8", "replace")
