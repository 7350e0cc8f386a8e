"""supervisord: the one that the host has, or one of our own."""

from __future__ import annotations

import copy
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Dict, List, Mapping, Sequence, Set, Tuple

from ...contract.failure import FAILED, REFUSED, Failure
from ...contract.layout import Layout
from .. import processes
from .base import Activity, Observed, Own, Supervisor, last_lines, manifests_of
from .log_file import changed, first_since, size, tail
from .supervisord_config import DESCRIPTORS_EACH, find, program, programs_in
from .supervisord_rpc import ALREADY_ADDED, ALREADY_STARTED, BAD_NAME, NO_ANSWER, NOT_RUNNING, Fault, Rpc, observed
from .supervisord_start import installed, start
from .supervisord_strays import keeper, strays_of
from .supervisord_theirs import Theirs
from .unix_http import is_listening

if TYPE_CHECKING:
    from ...contract.records import Taken

_RELOAD_SECONDS = 15.0  # one that is told to read its files anew has no socket meanwhile
_POLL = 0.02
_LOG_BYTES = 8192
_OWN = """\
; Written by deploy.
[program:{name}]
command = {command}
autostart = true
autorestart = true
startsecs = 1
startretries = 10
stopsignal = TERM
stopwaitsecs = 10
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {log}
stdout_logfile_maxbytes = 1MB
stdout_logfile_backups = 1
"""


def on_this_host(layout: Layout, options: Mapping[str, object]) -> Supervisor:
    """The one of a target's `supervisor_config`, else the host's, else one of our own."""
    return Supervisord(layout, str(options.get("config") or ""))


class Supervisord(Supervisor):
    """The supervisord of this host, or one of our own."""

    kind = "supervisord"
    logs_in_project = True

    def __init__(self, layout: Layout, config: str = "") -> None:
        super().__init__(layout)
        self.instance = find(config)
        self._rpc = Rpc(self.instance)

    def twin(self) -> Supervisor:
        other = copy.copy(self)
        other._rpc = Rpc(self.instance)
        return other

    @property
    def _theirs(self) -> Theirs:
        return Theirs(self._rpc)

    def answers(self) -> bool:
        """Whether it is alive."""
        return self._rpc.answers()

    def gone(self) -> bool:
        until = time.monotonic() + _RELOAD_SECONDS
        while True:
            if is_listening(self.instance.socket, self.instance.own):
                return False
            alive = keeper(self.instance)
            if not processes.alive(alive):
                return True
            if time.monotonic() > until:
                raise Failure(
                    FAILED,
                    f"supervisord (pid {alive}) runs, and nobody listens on its socket {self.instance.socket}.",
                    next_step=f"look at its log, then end it (kill {alive}) and: deploy up",
                )
            time.sleep(_POLL)

    def usable(self) -> None:
        if self.answers():
            self.readable()
        else:
            installed()

    def same_as(self, other: Supervisor) -> bool:
        return isinstance(other, Supervisord) and self.instance.socket == other.instance.socket

    def ready(self) -> None:
        if not self.answers():
            start(self.instance, self.answers)

    def starts(self) -> bool:
        installed()
        return True

    def observe(self, programs: Sequence[str]) -> Dict[str, Observed]:
        if not programs:
            return {}
        try:
            told = self._rpc.each("getProcessInfo", [(f"{name}:{name}",) for name in programs])
        except (Failure, Fault):
            told = []
        if not told or any(isinstance(info, Fault) and info.faultCode != BAD_NAME for info in told):
            return dict.fromkeys(programs, Observed(Activity.ABSENT, detail=NO_ANSWER))
        return {name: observed(None if isinstance(info, Fault) else info) for name, info in zip(programs, told)}

    def strays(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        return self._strays(self.observe(programs), processes.table())

    def _strays(self, seen: Dict[str, Observed], known: processes.Table) -> Dict[str, Set[int]]:
        return strays_of(self.layout, self.instance, seen, self.accounts, known)

    def manifest_path(self, manifest: str) -> str:
        return os.path.join(self.instance.include, os.path.splitext(manifest)[0] + self.instance.suffix)

    def at_rest(self, manifest: str) -> str:
        others = re.sub(r"(?m)^autostart\s*=.*\n?", "", manifest)  # the project's own template may not say it at all
        return re.sub(r"(?m)^(\[program:.*\])$", r"\1\nautostart = false", others, count=1)

    def ours(self) -> Dict[str, str]:
        manifests = manifests_of(self.layout, self.instance.include, self.instance.suffix)
        described = programs_in(self.instance.include, self.instance.suffix)
        return {program: path for program, path in described if path in manifests}

    def is_of(self, project: str, program: str, manifest: str) -> bool:
        return os.path.basename(manifest).startswith(f"{project}.") or not project

    def foreign(self, manifests: Mapping[str, str]) -> Dict[str, str]:
        found, described = {}, programs_in(self.instance.include, self.instance.suffix)
        elsewhere = {
            name: path for name, path in described if name in manifests and path != self.manifest_path(manifests[name])
        }
        for name, seen in self.observe(list(manifests)).items():
            ours = self.manifest_path(manifests[name])
            path = elsewhere.get(name, ours)
            try:
                if self._is_ours(path):  # elsewhere too, where the project had another name
                    continue
                described_there = f"{path} already describes a program {name!r}"
                found[name] = f"{ours} belongs to another project" if path == ours else described_there
            except FileNotFoundError:
                if seen.activity is not Activity.ABSENT:
                    found[name] = f"supervisord already runs a program {name!r} that no file of ours describes"
        return found

    def _is_ours(self, path: str) -> bool:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return self.layout.run + "/" in stream.read()

    def readable(self) -> None:
        self._rpc.reread()

    def has_room(self, more: int) -> None:
        pid = keeper(self.instance)
        most, has = processes.descriptors(pid)
        if more * DESCRIPTORS_EACH > most - has > 0:
            raise Failure(
                REFUSED,
                f"supervisord may have {most} files open and has {has}; {more} programs need {DESCRIPTORS_EACH} each.",
                next_step=f"set minfds under [supervisord] in {self.instance.config}, restart it, and: deploy up",
            )

    def own(self, name: str, command: str, folders: Sequence[str]) -> Own:
        log = self.layout.log(name).replace("%", "%%")
        return Own(name, f"{name}.conf", _OWN.format(name=name, command=command.replace("%", "%%"), log=log))

    def load(self, changed: Sequence[str], removed: Sequence[str]) -> None:
        added, differing = self._rpc.reread()
        # What is neither new nor different is already as its file says; adding it again would restart it.
        self._rpc.settle(
            "removeProcessGroup", [*removed, *(n for n in changed if n in differing)], BAD_NAME, "let go of"
        )
        self._rpc.settle("addProcessGroup", [n for n in changed if n in added or n in differing], ALREADY_ADDED, "take")

    def _end_of_log(self, program: str) -> float:
        return size(self.log_path(program))

    def _start(self, programs: Sequence[str]) -> None:
        told = self._rpc.each("startProcess", [(f"{name}:{name}", False) for name in programs])
        for name, fault in zip(programs, told):
            if isinstance(fault, Fault) and fault.faultCode != ALREADY_STARTED:
                raise Failure(FAILED, f"{name} could not be started: {fault.faultString}")

    def stop(self, timeouts: Mapping[str, float]) -> None:
        names, longest = list(timeouts), max(timeouts.values(), default=0.0)
        began = {pid: processes.start_time(pid) for members in self.families(names).values() for pid in members}
        for name, fault in zip(names, self._rpc.each("stopProcess", [(f"{name}:{name}", False) for name in names])):
            if isinstance(fault, Fault) and fault.faultCode not in (NOT_RUNNING, BAD_NAME):
                raise Failure(FAILED, f"{name} could not be stopped: {fault.faultString}")
        until, running = time.monotonic() + longest + 10.0, names  # supervisord itself kills after stopwaitsecs
        while True:
            running = [name for name, seen in self.observe(running).items() if _has_process(seen)]
            if not running:
                break
            if time.monotonic() > until:
                raise Failure(FAILED, f"{', '.join(running)} did not stop.")
            time.sleep(_POLL)
        # It ends the group that it started; what left that has not been told yet.
        left = processes.end(
            lambda: {
                *(pid for pid, start in began.items() if processes.start_time(pid) == start),
                *self.stray_pids(names),
            },
            longest,
        )
        if left:
            raise Failure(FAILED, f"{', '.join(names)} did not stop: processes {sorted(left)} are still there.")

    def families(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        seen, known = self.observe(programs), processes.table()
        strays, found = self._strays(seen, known), {}
        for name, each in seen.items():
            began = processes.start_time(each.pid) if each.pid else 0
            younger = {stray for stray in strays[name] if each.pid and processes.start_time(stray) >= began}
            found[name] = (known.family([each.pid]) | younger) if each.pid else set()
        return found

    def how_it_ended(self, program: str, seen: Observed) -> str:
        # Of a program that ended within startsecs the interface forgets the exit status; the daemon's log has it.
        if seen.activity is Activity.ABSENT and seen.detail:
            return f"lost its supervisor: {seen.detail}"
        try:
            log = str(self._rpc.ask("readLog", -_LOG_BYTES, 0))
        except (Failure, Fault):
            log = ""
        ends = re.findall(rf"exited: {re.escape(program)} \((exit status|terminated by) ([^;)]+)", log)
        if not ends or seen.activity is not Activity.EXITED:
            return super().how_it_ended(program, seen)
        how, value = ends[-1]
        said = f"exited with status {value}" if how == "exit status" else f"was killed by {value}"
        if self.strays([program])[program]:
            said += ", and left processes in the background; a service stays in the foreground"
        return said

    def theirs(self, names: Sequence[str]) -> List[Taken]:
        return self._theirs.those(names)

    def members_of_theirs(self, taken: Sequence[Taken]) -> Set[int]:
        return self._theirs.members(taken)

    def theirs_with(self, pids: Set[int]) -> str:
        return self._theirs.having(pids)

    def take(self, taken: Sequence[Taken]) -> None:
        self._theirs.take(taken)

    def give_back(self, taken: Sequence[Taken]) -> None:
        self._theirs.give_back(taken)

    def start_again(self, taken: Sequence[Taken]) -> None:
        self._theirs.start_again(taken)

    def log_path(self, program: str) -> str:
        return os.path.join(self.layout.logs, program + ".log")

    def log_tail(self, program: str, lines: int = 20, *, exact: bool = False) -> List[str]:
        return last_lines(tail(self.log_path(program), int(self._marks.get(program, 0))), lines, exact)

    def log_since(self, program: str, since: float, lines: int) -> Tuple[List[str], bool]:
        path = self.log_path(program)
        if changed(path) < since:
            return [], True
        found = last_lines(tail(path), sys.maxsize, exact=True)
        begin = first_since(found, since)
        return found[begin or 0 :][-lines:], begin is not None

    def facts(self) -> Dict[str, object]:
        running = self.answers()
        command = program()
        return {
            "kind": self.kind,
            "state": "running" if running else "startable" if command else "missing",
            "version": self._rpc.ask("getSupervisorVersion") if running else "",
            "config": self.instance.config,
            "include": self.instance.include,
            "own": self.instance.own,
        }


def _has_process(seen: Observed) -> bool:
    return seen.pid != 0 or seen.activity in (Activity.RUNNING, Activity.STOPPING)
