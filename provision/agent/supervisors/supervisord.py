"""supervisord over XML-RPC on its unix socket.

`supervisorctl` waits in whole seconds and starts a Python each time; the interface under it does neither
(supervisord.org, "XML-RPC API").
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import time
import xmlrpc.client
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple
from xml.parsers.expat import ExpatError

from .. import commands, files, processes, strays
from ..layout import Layout
from ..protocol import FAILED, REFUSED, AgentError
from . import ABSENT, LOG_BYTES, Activity, Observed, Supervisor, last_lines, manifests_of
from .supervisord_config import Instance, create_own, find, program, programs_in

# supervisor/xmlrpc.py, class Faults
_BAD_NAME, _NO_FILE, _ALREADY_STARTED, _NOT_RUNNING, _CANT_REREAD = 10, 20, 60, 70, 92
_ALREADY_ADDED, _SPAWN_ERROR, _ABNORMAL_TERMINATION = 90, 50, 40

_ACTIVITY = {
    "STARTING": Activity.RUNNING,
    "RUNNING": Activity.RUNNING,
    "STOPPING": Activity.STOPPING,
    "STOPPED": Activity.STOPPED,
    "BACKOFF": Activity.EXITED,
    "EXITED": Activity.EXITED,
    "FATAL": Activity.EXITED,
    "UNKNOWN": Activity.EXITED,
}
_START_SECONDS = 10.0  # supervisord answers on its socket within this, or it did not start
_RELOAD_SECONDS = 15.0  # one that is told to read its files anew has no socket meanwhile
_CONNECT_SECONDS = 5.0
_POLL = 0.02
_LOG_BYTES = 8192


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, own: bool) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path
        self._own = own

    def connect(self) -> None:
        if self._own:
            _refuse_another_users(self._path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _refuse_another_users(path: str) -> None:
    if os.stat(path).st_uid != os.geteuid():
        raise AgentError(REFUSED, f"{path} is another user's socket; nothing is asked there.")


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self._instance = instance
        if instance.username:
            import base64

            token = base64.b64encode(f"{instance.username}:{instance.password}".encode()).decode("ascii")
            self._headers = [("Authorization", "Basic " + token)]

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        if self._connection and self._connection[1]:
            return self._connection[1]
        self._connection = host, _UnixConnection(self._instance.socket, self._instance.own)
        return self._connection[1]


class Supervisord(Supervisor):
    """The supervisord of this host, or one of our own."""

    kind = "supervisord"

    def __init__(self, layout: Layout, config: str = "") -> None:
        super().__init__(layout)
        self.instance: Instance = find(config)
        self._proxy: Optional[Any] = None

    @property
    def _rpc(self) -> Any:
        if self._proxy is None:
            self._proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self.instance))
        return self._proxy.supervisor

    def _ask(self, method: str, *arguments: Any) -> Any:
        """What supervisord answers.

        Raises:
            xmlrpc.client.Fault: it refused.
            AgentError: it did not answer.
        """
        try:
            return getattr(self._rpc, method)(*arguments)
        except xmlrpc.client.Fault:
            raise
        except (OSError, xmlrpc.client.Error, http.client.HTTPException, ExpatError) as error:
            self._proxy = None
            why = f"{self.instance.socket}: {error}."
            raise AgentError(FAILED, f"{self._NO_ANSWER}.", why=why, next_step="deploy unlock") from None

    _NO_ANSWER = "supervisord does not answer"

    def answers(self) -> bool:
        """Whether it is alive: the socket file outlives the daemon, so ask."""
        try:
            return bool(self._rpc.getState()["statecode"] == 1)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException, ExpatError):
            self._proxy = None
            return False

    def gone(self) -> bool:
        until = time.monotonic() + _RELOAD_SECONDS
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(_CONNECT_SECONDS)
                try:
                    if self.instance.own:
                        _refuse_another_users(self.instance.socket)
                    probe.connect(self.instance.socket)
                    return False
                except (FileNotFoundError, ConnectionRefusedError):
                    pass
                except OSError:
                    return False  # it listens, and has no time
            alive = self._keeper()
            if not processes.alive(alive):
                return True
            if time.monotonic() > until:
                raise AgentError(
                    FAILED,
                    f"supervisord (pid {alive}) runs, and nobody listens on its socket {self.instance.socket}.",
                    next_step=f"look at its log, then end it (kill {alive}) and: deploy up",
                )
            time.sleep(_POLL)

    def _keeper(self) -> int:
        """The pid of the supervisord that runs, or ran last, with this configuration; 0 where that is not known."""
        try:
            with open(self.instance.pidfile, encoding="ascii") as stream:
                pid = int(stream.read())
        except (OSError, ValueError):
            return 0
        words = processes.command(pid)
        named = [word for word in words if word.endswith(".conf")] or [self.instance.config]
        if words and not (any("supervisord" in word for word in words) and self.instance.config in named):
            return 0  # the number is another's by now
        return pid

    def twin(self) -> Supervisord:
        other = Supervisord(self.layout, "" if self.instance.own else self.instance.config)
        other._marks = self._marks
        return other

    def usable(self) -> None:
        if self.answers():
            self.readable()
        else:
            _installed()

    def same_as(self, other: Supervisor) -> bool:
        return isinstance(other, Supervisord) and self.instance.socket == other.instance.socket

    def ready(self) -> None:
        if self.answers():
            return
        command = [_installed(), "-c", self.instance.config]
        if self.instance.own:
            create_own(self.instance)
        elif not os.path.isdir(self.instance.include):
            files.make_folder(self.instance.include)
        unit = "" if self.instance.own else _unit()
        if unit:
            command = ["systemctl", "start", unit]  # which else would start a second one, again and again
        # Without a mark: who deploys may itself be run by a supervisord.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
        try:
            said = commands.ask(command, _START_SECONDS, cwd="/", env=environment).output.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            said = f"it did not end in {_START_SECONDS:.0f} s"
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self.answers():
                return
            time.sleep(_POLL)
        raise AgentError(FAILED, f"{' '.join(command)} did not start supervisord: {said.strip()[-500:]}")

    def starts(self) -> bool:
        _installed()
        return True

    def observe(self, programs: Sequence[str]) -> Dict[str, Observed]:
        if not programs:
            return {}
        try:
            known = {f"{info['group']}:{info['name']}": info for info in self._ask("getAllProcessInfo")}
        except (AgentError, xmlrpc.client.Fault):
            return dict.fromkeys(programs, Observed(Activity.ABSENT, detail=self._NO_ANSWER))
        return {name: _observed(known.get(f"{name}:{name}")) for name in programs}

    def strays(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        return self._strays(self.observe(programs), processes.table())

    def _strays(self, seen: Dict[str, Observed], known: processes.Table) -> Dict[str, Set[int]]:
        url = os.fsencode(f"SUPERVISOR_SERVER_URL=unix://{self.instance.socket}")
        marks = {
            name: {os.fsencode(f"SUPERVISOR_PROCESS_NAME={name}"), os.fsencode(f"SUPERVISOR_GROUP_NAME={name}"), url}
            for name in seen
        }
        found = strays.marked(seen, marks)
        written = strays.remembered(self.layout)
        # Neither we nor supervisord are strays, whatever terminal one of us was started from.
        spared = processes.ancestors(os.getpid(), known) | processes.ancestors(self._keeper(), known)
        others = {pid: value for pid, value in known.items() if pid not in spared}
        for name, pids in found.items():
            owners = strays.owners(self.layout, name) | self.accounts.get(name, set())
            ours = {pid for pid in pids if processes.accounts(pid) <= owners}
            if name in written:
                ours.add(written[name])
            main = processes.family([seen[name].pid], others) if seen[name].pid else set()
            found[name] = processes.family(ours, others) - main
        return found

    def manifest_path(self, manifest: str) -> str:
        return os.path.join(self.instance.include, os.path.splitext(manifest)[0] + self.instance.suffix)

    def ours(self) -> Dict[str, str]:
        manifests = manifests_of(self.layout, self.instance.include, self.instance.suffix)
        described = programs_in(self.instance.include, self.instance.suffix)
        return {program: path for program, path in described if path in manifests}

    def foreign(self, program: str, manifest: str) -> str:
        ours = self.manifest_path(manifest)
        for name, path in programs_in(self.instance.include, self.instance.suffix):
            if name == program and path != ours:  # ours too where the project had another name
                return "" if self._is_ours(path) else f"{path} already describes a program {program!r}"
        try:
            return "" if self._is_ours(ours) else f"{ours} belongs to another project"
        except FileNotFoundError:
            pass
        if self.observe([program])[program].activity is not Activity.ABSENT:
            return f"supervisord already runs a program {program!r} that no file of ours describes"
        return ""

    def _is_ours(self, path: str) -> bool:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return self.layout.run + "/" in stream.read()

    def readable(self) -> None:
        self._reread()

    def _reread(self) -> Tuple[List[str], List[str]]:
        """Let supervisord read its files, without doing anything about them: what is new, what differs."""
        try:
            added, differing, _ = self._ask("reloadConfig")[0]
        except xmlrpc.client.Fault as fault:
            raise AgentError(
                REFUSED,
                "supervisord can't read its configuration.",
                why=f"{fault.faultString}. Files of other programs are never touched by a deploy.",
                next_step=f"mend the file that is named, then: supervisorctl -c {self.instance.config} reread",
            ) from None
        return list(added), list(differing)

    def load(self, changed: Sequence[str], removed: Sequence[str]) -> None:
        added, differing = self._reread()
        # What is neither new nor different is already as its file says; adding it again would restart it.
        for name in [*removed, *(name for name in changed if name in differing)]:
            self._forget(name)
        for name in changed:
            if name not in added and name not in differing:
                continue
            try:
                self._ask("addProcessGroup", name)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _ALREADY_ADDED:
                    raise AgentError(FAILED, f"supervisord does not take {name}: {fault.faultString}") from None

    def _forget(self, name: str) -> None:
        try:
            self._ask("removeProcessGroup", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _BAD_NAME:
                raise AgentError(FAILED, f"supervisord does not let go of {name}: {fault.faultString}") from None

    def start(self, program: str) -> None:
        name = f"{program}:{program}"
        self._marks[program] = _size(self.log_path(program))
        try:
            self._ask("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _ALREADY_STARTED:
                return
            raise AgentError(FAILED, f"{program} could not be started: {fault.faultString}") from None

    def stop(self, program: str, timeout: float) -> None:
        began = {pid: processes.start_time(pid) for pid in self.members(program)}
        name = f"{program}:{program}"
        try:
            self._ask("stopProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (_NOT_RUNNING, _BAD_NAME):
                raise AgentError(FAILED, f"{program} could not be stopped: {fault.faultString}") from None
        until = time.monotonic() + timeout + 10.0  # supervisord itself kills after stopwaitsecs
        while self._runs(program):
            if time.monotonic() > until:
                raise AgentError(FAILED, f"{program} did not stop.")
            time.sleep(_POLL)
        # It ends the group that it started; what left that has not been told yet.
        left = processes.end(
            lambda: {
                *(pid for pid, start in began.items() if processes.start_time(pid) == start),
                *self.strays([program])[program],
            },
            timeout,
        )
        if left:
            raise AgentError(FAILED, f"{program} did not stop: processes {sorted(left)} are still there.")

    def _runs(self, program: str) -> bool:
        seen = self.observe([program])[program]
        return seen.pid != 0 or seen.activity in (Activity.RUNNING, Activity.STOPPING)

    def members(self, program: str) -> Set[int]:
        seen, known = self.observe([program]), processes.table()
        pid = seen[program].pid
        if not pid:
            return set()
        began = processes.start_time(pid)
        left_it = self._strays(seen, known)[program]
        return processes.family([pid], known) | {stray for stray in left_it if processes.start_time(stray) >= began}

    def how_it_ended(self, program: str, seen: Observed) -> str:
        # Of a program that ended within startsecs the interface forgets the exit status; the daemon's log has it.
        if seen.activity is Activity.ABSENT and seen.detail:
            return f"lost its supervisor: {seen.detail}"
        try:
            log = str(self._ask("readLog", -_LOG_BYTES, 0))
        except (AgentError, xmlrpc.client.Fault):
            log = ""
        ends = re.findall(rf"exited: {re.escape(program)} \((exit status|terminated by) ([^;)]+)", log)
        if not ends or seen.activity is not Activity.EXITED:
            return seen.detail or f"is {seen.activity.value}"
        how, value = ends[-1]
        said = f"exited with status {value}" if how == "exit status" else f"was killed by {value}"
        if self.strays([program])[program]:
            said += ", and left processes in the background; a service stays in the foreground"
        return said

    def log_path(self, program: str) -> str:
        return os.path.join(self.layout.logs, program + ".log")

    def log_tail(self, program: str, lines: int = 20, *, exact: bool = False) -> List[str]:
        return last_lines(tail(self.log_path(program), int(self._marks.get(program, 0))), lines, exact)

    def facts(self) -> Dict[str, object]:
        running = self.answers()
        command = program()
        return {
            "kind": self.kind,
            "state": "running" if running else "startable" if command else "missing",
            "version": self._ask("getSupervisorVersion") if running else "",
            "config": self.instance.config,
            "include": self.instance.include,
            "own": self.instance.own,
        }


def _installed() -> str:
    command = program()
    if command is None:
        raise AgentError(
            REFUSED,
            "supervisord is not installed on this host.",
            next_step="deploy host bootstrap, or install it there: apt-get install supervisor",
        )
    return command


def _unit() -> str:
    """The unit by which systemd starts the host's supervisord, where it does."""
    if os.geteuid() == 0 and os.path.isdir("/run/systemd/system"):
        for unit in ("supervisor.service", "supervisord.service"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                if commands.ask(["systemctl", "is-enabled", "--quiet", unit], _START_SECONDS).status == 0:
                    return unit
    return ""


def _observed(info: Optional[Dict[str, Any]]) -> Observed:
    if info is None:
        return ABSENT
    activity = _ACTIVITY.get(info["statename"], Activity.EXITED)
    detail = ""
    if activity is Activity.EXITED:
        detail = info["spawnerr"] or f"exited with status {info['exitstatus']}"
    if info["statename"] == "STOPPED" and not info["start"]:
        detail = "not started"
    return Observed(activity, info["pid"], detail)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def tail(path: str, since: int = 0) -> bytes:
    """The end of a file, at most `LOG_BYTES` of it; nothing from before the byte `since`."""
    try:
        with files.open_plain(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            # A file that is shorter than it was has been rotated.
            begin = since if since <= size else 0
            cut = size - LOG_BYTES > begin
            stream.seek(size - LOG_BYTES if cut else begin)
            if cut:
                stream.readline(LOG_BYTES)  # torn: who takes secrets out of lines would not know the end of one
            return stream.read(LOG_BYTES)
    except OSError:
        return b""
