"""HAProxy while it runs: told what it is to be, and asked what it does. Every answer is bounded, every wait ends."""

from __future__ import annotations

import contextlib
import csv
import os
import time
from typing import Dict, Iterator, List, Mapping, Tuple

from ...contract.failure import FAILED, REFUSED, Failure
from .. import files
from . import configuration, trusting
from .backends import HOLD, at, bounds, states, weight
from .master import PID, SOCKET, Master, Silent, number
from .render import render, structure
from .values import DRAIN, READY, Counted, Crowd, Front

CONFIGURATION = configuration.NAME
_POLL = 0.02
_SERVERS = "show stat -1 4 -1"
_BACKENDS = "show stat -1 2 -1"
_BOTH = "show stat -1 6 -1"
_KINDS = ("1xx", "2xx", "3xx", "4xx", "5xx")
_COLUMNS = {"pxname", "svname", "status", "scur", "stot", "econ", "eresp", "dreq", *(f"hrsp_{each}" for each in _KINDS)}
_SAID = 2000  # of what HAProxy says, its end
_SAID_OF_ADDRESSES = ("no need to change", "IP changed", "port changed")


class Runtime:
    """The HAProxy of the front in `folder`, whoever started it; `haproxy` is its program.

    All of it raises Failure where HAProxy does not answer, or not with what was asked for.
    """

    def __init__(self, folder: str, haproxy: str) -> None:
        self.folder = folder
        self._haproxy = haproxy
        self._master = Master(folder)

    def become(self, front: Front, seconds: float = 60.0) -> None:
        """Make it `front`: write the configuration, durably; then say the difference on the socket, or reload.

        May be repeated, also by somebody else after a kill at any point. Streams that have begun go on either way.
        Where no HAProxy runs, the file is all: whoever starts it starts `front`. What waits is released before a
        reload; where it is to wait on, another structure is refused.

        Raises:
            Failure: it can't be. Then the file is what it was before, and HAProxy, if it runs, becomes that again.
        """
        path = os.path.join(self.folder, CONFIGURATION)
        deadline = time.monotonic() + seconds
        text, before = render(front), configuration.read(path)
        if self._is_other(self._worker(deadline), front):
            self._demand_nobody_is_lost(front)
            configuration.demand_free(front, before)
        configuration.link(front)
        configuration.trust(front)
        configuration.open_to_worker(front)
        if text != before:
            configuration.judge(text, self._haproxy, self.folder)
            files.write(path, text, 0o600)
        worker = self._worker(deadline)
        if self._is_other(worker, front):
            self._prepare(worker, front, deadline)
            try:
                worker = self._reloaded(structure(front), deadline)
            except Failure:
                if before:
                    files.write(path, before, 0o600)
                    with contextlib.suppress(Failure):  # it is told no more than it was; if it can't hear, it serves
                        self._master.ask("reload")
                raise
        if worker:
            self._say(worker, front)

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            self._master.processes()
        except Silent:
            return False
        return True

    def counted(self) -> Dict[str, Dict[str, Counted]]:
        """service -> program -> what it had and has."""
        found: Dict[str, Dict[str, Counted]] = {}
        current = self._master.processes().current
        for worker, row in self._rows(_SERVERS):
            programs = found.setdefault(row["pxname"], {})
            before = programs.get(row["svname"], Counted("", 0, 0, 0, {}))
            programs[row["svname"]] = (
                _added(before, row)
                if worker == current
                else before._replace(sessions=before.sessions + number(row["scur"]))
            )
        return found

    def drained(self, service: str, program: str) -> bool:
        """Whether the program has no session left, in any process."""
        found = self.counted().get(service, {}).get(program)
        return found is None or found.sessions == 0

    def held(self, service: str, *, let_go: bool = False) -> int:
        """How many requests wait for a program that takes them: those in the backend, and at no program.

        Both are read at once: requests that come between two readings would be some that wait. And none does where
        none is held: who is slow to take the end of an answer is in the backend, and at no program, too.

        Args:
            let_go: those, too, that were told to go on just now.
        """
        waiting: Dict[int, int] = {}
        holding = set()
        for worker, row in self._rows(_BOTH):
            if row["pxname"] == service:
                count = number(row["scur"])
                waiting[worker] = waiting.get(worker, 0) + (count if row["svname"] == "BACKEND" else -count)
                if row["svname"] == HOLD and row["status"] != "MAINT":
                    holding.add(worker)
        return sum(max(0, count) for worker, count in waiting.items() if let_go or worker in holding)

    def crowd(self, service: str) -> Crowd:
        """Who waits for a program that takes them, and who was sent away."""
        current = self._master.processes().current
        mine = [row for pid, row in self._rows(_BACKENDS) if (pid, row["pxname"]) == (current, service)]
        sent = [(number(row["dreq"]), number(row["econ"])) for row in mine]
        return Crowd(self.held(service), *(sent[0] if sent else (0, 0)))

    def _structure(self, worker: int) -> str:
        """The digest in the configuration that this worker has read."""
        for line in self._master.tell(worker, ["show info"])[0].splitlines():
            key, _, value = line.partition(":")
            if key.lower() == "description":
                return value.strip()
        return ""

    def _is_other(self, worker: int, front: Front) -> bool:
        """Whether somebody runs, and has read another structure."""
        return bool(worker) and self._structure(worker) != structure(front)

    def _demand_nobody_is_lost(self, front: Front) -> None:
        """Who waits, and is to wait on, would be lost with a reload.

        Raises:
            Failure: somebody does.
        """
        for backend in front.backends:
            if backend.held and self.held(backend.service):
                what = f"Requests for {backend.service} are held, and would be lost with a reload."
                raise Failure(REFUSED, what, next_step="deploy status")

    def _prepare(self, worker: int, front: Front, deadline: float) -> None:
        """Have the one that runs send requests where its successor will, as far as it can: for a moment both take some.

        What waits is let go, too: after a reload nobody could tell it where to. Whoever takes what no rule sends
        elsewhere comes before those that no longer do: two lanes may change roles.
        """
        has = {(row["pxname"], row["svname"]) for row in self._told(worker, _SERVERS)}
        for backend in front.backends:
            up, service, known = states(backend), backend.service, True
            if up[HOLD]:
                self._master.tell(worker, [f"set server {service}/{HOLD} state ready"])
            trusting.trust(self._master, worker, backend)
            for server in sorted(backend.servers, key=weight, reverse=True):
                if up[server.program] and not server.socket:  # which never is elsewhere
                    name = f"{service}/{server.program}"
                    words = [f"set server {name} addr {server.address} port {server.port}"]
                    words += [f"set server {name} weight {weight(server)}", f"set server {name} state ready"]
                    if (service, server.program) not in has:
                        if server.peer:  # which would be asked in the clear: the one to come believes its certificate
                            known = False
                            continue
                        words.insert(0, f"add server {name} {at(server)} weight {weight(server)}")
                    known &= not self._master.tell(worker, words)[-1]
            if known and any(up.values()):
                self._master.tell(worker, [f"set server {service}/{each} state maint" for each in up if not up[each]])
                while not up[HOLD] and self.held(service, let_go=True) and time.monotonic() < deadline:
                    time.sleep(_POLL)

    def _worker(self, deadline: float) -> int:
        """Who takes connections; 0 where no HAProxy runs."""
        while True:
            try:
                return self._master.processes().current
            except Silent:
                if not self._master.lives():
                    return 0
                if time.monotonic() > deadline:
                    raise
            time.sleep(_POLL)

    def _reloaded(self, wanted: str, deadline: float) -> int:
        """Have a new worker read the file, and wait for it; the old one ends what it has begun."""
        failed = self._master.processes().failed
        with contextlib.suppress(Silent):  # it may break off, because it begins anew
            self._master.ask("reload")
        while time.monotonic() < deadline:
            time.sleep(_POLL)
            with contextlib.suppress(Silent):
                processes = self._master.processes()
                if self._structure(processes.current) == wanted:
                    return processes.current
                if processes.failed > failed:
                    break
        raise Failure(
            FAILED,
            "HAProxy did not take up its new configuration; it goes on with the one before.",
            "A certificate may not be readable, or a port have been taken meanwhile.",
            next_step="deploy logs traffic",
        )

    def _say(self, worker: int, front: Front) -> None:
        """States, shares, addresses and holding: first who may be asked, last who may not any more.

        Also what was said for a reload that never came, because whoever said it was killed.
        """
        first: List[str] = []
        last: List[str] = []
        there = [(row["pxname"], row["svname"]) for row in self._told(worker, _SERVERS)]
        for backend in front.backends:
            up = states(backend)
            trusting.trust(self._master, worker, backend)
            if up[HOLD]:
                first.append(f"set server {backend.service}/{HOLD} state ready")
            for server in sorted(backend.servers, key=weight, reverse=True):
                name = f"{backend.service}/{server.program}"
                if not server.socket:
                    first.append(f"set server {name} addr {server.address} port {server.port}")
                first.append(f"set server {name} weight {weight(server)}")
                if up[server.program]:
                    first.append(f"set server {name} state ready")
            known = {*up, *(name for service, name in there if service == backend.service)}
            last += [f"set server {backend.service}/{each} state maint" for each in sorted(known) if not up.get(each)]
            first += [f"set var {variable} int({below})" for variable, below in bounds(backend).items()]
        for command, answer in zip(first + last, self._master.tell(worker, first + last)):
            if answer and not answer.startswith(_SAID_OF_ADDRESSES):
                raise Failure(FAILED, f"HAProxy did not do {command!r}.", answer[:_SAID])

    def _rows(self, command: str) -> Iterator[Tuple[int, Mapping[str, str]]]:
        """What each worker says of its servers, or backends, with the worker's pid."""
        for worker in self._master.processes().workers:
            try:
                rows = self._told(worker, command)
            except Silent:  # it has ended since
                continue
            for row in rows:
                yield worker, row

    def _told(self, worker: int, command: str) -> List[Mapping[str, str]]:
        (answer,) = self._master.tell(worker, [command])
        lines = answer[2:].splitlines()  # the first one begins with "# "
        rows: List[Mapping[str, str]] = list(csv.DictReader(lines, restval=""))
        if rows and not rows[0].keys() >= _COLUMNS:
            raise Failure(FAILED, "HAProxy does not say what it can say.", f"{command!r} has {list(rows[0])[:10]}.")
        return rows


def command(haproxy: str, folder: str) -> List[str]:
    """How it is started in the foreground. SIGTERM ends it at once, SIGUSR1 when its last stream has ended."""
    return [haproxy, "-W", "-db", "-C", folder, "-S", f"unix@{SOCKET},mode,600", "-p", PID, "-f", CONFIGURATION]


def _added(before: Counted, row: Mapping[str, str]) -> Counted:
    return Counted(
        state=READY if row["status"] != "MAINT" else DRAIN,
        sessions=before.sessions + number(row["scur"]),
        requests=number(row["stot"]),
        failed=number(row["econ"]) + number(row["eresp"]),
        answers={kind: number(row[f"hrsp_{kind}"]) for kind in _KINDS},
    )
