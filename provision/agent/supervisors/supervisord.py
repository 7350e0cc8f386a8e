"""supervisord over XML-RPC on its unix socket.

`supervisorctl` waits in whole seconds and starts a Python each time; the interface under it does neither
(supervisord.org, "XML-RPC API").
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import time
import xmlrpc.client
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from .. import files, processes
from ..layout import Layout
from ..protocol import FAILED, REFUSED, AgentError
from . import ABSENT, Activity, Observed, Supervisor, manifests_of
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
_POLL = 0.02
_LOG_BYTES = 8192


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, own: bool) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path
        self._own = own

    def connect(self) -> None:
        if self._own and os.stat(self._path).st_uid != os.geteuid():
            raise AgentError(REFUSED, f"{self._path} is another user's socket; nothing is asked there.")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


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

    def answers(self) -> bool:
        """Whether it is alive: the socket file outlives the daemon, so ask."""
        try:
            return bool(self._rpc.getState()["statecode"] == 1)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException):
            self._proxy = None
            return False

    def twin(self) -> Supervisord:
        other = Supervisord(self.layout, "" if self.instance.own else self.instance.config)
        other._marks = self._marks
        return other

    def ready(self) -> None:
        if self.answers():
            return
        command = program()
        if command is None:
            raise AgentError(
                REFUSED,
                "supervisord is not installed on this host.",
                next_step="deploy host bootstrap, or install it there: apt-get install supervisor",
            )
        if self.instance.own:
            create_own(self.instance)
        elif not os.path.isdir(self.instance.include):
            os.makedirs(self.instance.include, exist_ok=True)
        done = subprocess.run(
            [command, "-c", self.instance.config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            check=False,
        )
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self.answers():
                return
            time.sleep(_POLL)
        output = done.stdout.decode("utf-8", "replace").strip()
        raise AgentError(FAILED, f"supervisord -c {self.instance.config} did not start: {output[-500:]}")

    def observe(self, programs: Sequence[str]) -> Dict[str, Observed]:
        if not programs:
            return {}
        try:
            known = {f"{info['group']}:{info['name']}": info for info in self._rpc.getAllProcessInfo()}
        except (OSError, xmlrpc.client.Error, http.client.HTTPException):
            self._proxy = None
            return dict.fromkeys(programs, ABSENT)
        return {name: _observed(known.get(f"{name}:{name}")) for name in programs}

    def manifest_path(self, manifest: str) -> str:
        return os.path.join(self.instance.include, os.path.splitext(manifest)[0] + self.instance.suffix)

    def ours(self) -> Dict[str, str]:
        manifests = manifests_of(self.layout, self.instance.include, self.instance.suffix)
        described = programs_in(self.instance.include, self.instance.suffix)
        return {program: path for program, path in described if path in manifests}

    def foreign(self, program: str, manifest: str) -> str:
        ours = self.manifest_path(manifest)
        for name, path in programs_in(self.instance.include, self.instance.suffix):
            if name == program and path != ours:
                return f"{path} already describes a program {program!r}"
        try:
            with open(ours, encoding="utf-8") as stream:
                if self.layout.run + "/" not in stream.read():
                    return f"{ours} belongs to another project"
            return ""
        except FileNotFoundError:
            pass
        if self.observe([program])[program].activity is not Activity.ABSENT:
            return f"supervisord already runs a program {program!r} that no file of ours describes"
        return ""

    def readable(self) -> None:
        self._reread()

    def _reread(self) -> Tuple[List[str], List[str]]:
        """Let supervisord read its files, without doing anything about them: what is new, what differs."""
        try:
            added, differing, _ = self._rpc.reloadConfig()[0]
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
                self._rpc.addProcessGroup(name)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _ALREADY_ADDED:
                    raise AgentError(FAILED, f"supervisord does not take {name}: {fault.faultString}") from None

    def _forget(self, name: str) -> None:
        try:
            self._rpc.removeProcessGroup(name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _BAD_NAME:
                raise AgentError(FAILED, f"supervisord does not let go of {name}: {fault.faultString}") from None

    def start(self, program: str) -> None:
        name = f"{program}:{program}"
        self._marks[program] = _size(self.log_path(program))
        try:
            self._rpc.startProcess(name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _ALREADY_STARTED:
                return
            raise AgentError(FAILED, f"{program} could not be started: {fault.faultString}") from None

    def stop(self, program: str, timeout: float) -> None:
        members = self.members(program)
        name = f"{program}:{program}"
        try:
            self._rpc.stopProcess(name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (_NOT_RUNNING, _BAD_NAME):
                raise AgentError(FAILED, f"{program} could not be stopped: {fault.faultString}") from None
        until = time.monotonic() + timeout + 10.0  # supervisord itself kills after stopwaitsecs
        while time.monotonic() < until:
            observed = self.observe([program])[program]
            if observed.pid == 0 and observed.activity not in (Activity.RUNNING, Activity.STOPPING):
                if not any(processes.alive(pid) for pid in members):
                    return
                if time.monotonic() > until - 9.0:
                    break
            time.sleep(_POLL)
        left = [pid for pid in members if processes.alive(pid)]
        raise AgentError(FAILED, f"{program} did not stop: processes {left} are still there.")

    def members(self, program: str) -> Set[int]:
        pid = self.observe([program])[program].pid
        return processes.family([pid]) if pid else set()

    def how_it_ended(self, program: str, seen: Observed) -> str:
        # Of a program that ended within startsecs the interface forgets the exit status; the daemon's log has it.
        try:
            log = str(self._rpc.readLog(-_LOG_BYTES, 0))
        except (OSError, xmlrpc.client.Error, http.client.HTTPException):
            log = ""
        ends = re.findall(rf"exited: {re.escape(program)} \((exit status|terminated by) ([^;)]+)", log)
        if not ends or seen.activity is not Activity.EXITED:
            return seen.detail or f"is {seen.activity.value}"
        how, value = ends[-1]
        return f"exited with status {value}" if how == "exit status" else f"was killed by {value}"

    def log_path(self, program: str) -> str:
        return os.path.join(self.layout.logs, program + ".log")

    def log_tail(self, program: str, lines: int = 20) -> List[str]:
        return tail(self.log_path(program), lines, int(self._marks.get(program, 0)))

    def facts(self) -> Dict[str, object]:
        running = self.answers()
        command = program()
        return {
            "kind": self.kind,
            "state": "running" if running else "startable" if command else "missing",
            "version": self._rpc.getSupervisorVersion() if running else "",
            "config": self.instance.config,
            "include": self.instance.include,
            "own": self.instance.own,
        }


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


def tail(path: str, lines: int, since: int = 0) -> List[str]:
    """The last lines of a file, at most 64 KiB of them; none from before the byte `since`."""
    try:
        with files.open_plain(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            # A file that is shorter than it was has been rotated.
            stream.seek(max(since if since <= size else 0, size - (64 << 10)))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]
