"""A real HAProxy, programs behind it, and clients that never stop."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from provision.agent.front.master import Master
from provision.agent.front.runtime import Runtime, command
from provision.agent.front.values import Backend, Bind, Front, Limits, Route, Server
from tests.faults.hooks import until

_PROGRAM = Path(__file__).with_name("program.py")
PATIENCE = 60.0  # seconds
NO_LIMITS = Limits()


class Answered(NamedTuple):
    """What a client met."""

    status: int  # 0: none
    body: str
    headers: dict[str, str]
    seconds: float

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    @property
    def program(self) -> str:
        return str(self.said["program"])


def haproxy() -> str:
    """Debian's."""
    found = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found, "scripts/install-packages test"
    return found


class Stand:
    """One front, and what it needs."""

    def __init__(self, folder: Path, program: str = "") -> None:
        self.folder = folder
        self.port, self.other_port = free(2)
        self.program = program or haproxy()
        self.runtime = Runtime(str(folder), self.program)
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}

    def at(self, program: str) -> int:
        """The port that a program has, or will have."""
        if program not in self._ports:
            self._ports[program] = free(1)[0]
        return self._ports[program]

    def server(self, program: str, **more: Any) -> Server:
        return Server(program, self.at(program), **more)

    def front(self, *servers: Server, limits: Limits = NO_LIMITS, **more: Any) -> Front:
        """One service, `api`, at `port`."""
        backend = Backend("api", servers, limits=limits, **more)
        return Front(str(self.folder), "shop", (Bind(self.port, (Route("api"),), "127.0.0.1"),), (backend,))

    def start(self, *programs: str) -> None:
        """Start programs, and wait until they listen."""
        for program in programs:
            words = [sys.executable, "-I", "-S", str(_PROGRAM), program, str(self.at(program))]
            self._programs[program] = subprocess.Popen(words)
        for program in programs:
            until(lambda program=program: listens(self.at(program)), f"{program} listens", PATIENCE)

    def kill(self, program: str) -> None:
        process = self._programs.pop(program)
        process.kill()
        process.wait()

    def serve(self, front: Front) -> None:
        """Start HAProxy as `front`."""
        self.runtime.become(front)
        self.start_haproxy()

    def start_haproxy(self, *script: str) -> None:
        """As its supervisor does; itself, or by a script that does."""
        words = list(script) or command(self.program, str(self.folder))
        with (self.folder / "said").open("ab") as said:
            self._process = subprocess.Popen(words, stdout=said, stderr=said)
        until(self.runtime.is_up, f"HAProxy serves: {(self.folder / 'said').read_text()}", PATIENCE)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def worker(self) -> int:
        """The pid of the process that takes connections."""
        return Master(str(self.folder)).processes().current

    def tries(self) -> int:
        """How often a request was given to a program of the service, answered or not."""
        return sum(program.requests for program in self.runtime.counted()["api"].values())

    def end(self) -> None:
        """End HAProxy as its supervisor does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def get(self, path: str = "/", port: int = 0, **headers: str) -> Answered:
        """One request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            return ask(connection, path, **headers)

    def post(self, body: bytes) -> Answered:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            return ask(connection, body=body)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.end()
        for process in self._programs.values():
            process.kill()
        for process in self._programs.values():
            process.wait()


def ask(connection: http.client.HTTPConnection, path: str = "/", body: bytes | None = None, **headers: str) -> Answered:
    began = time.monotonic()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request("GET" if body is None else "POST", path, body, headers=named)
        answer = connection.getresponse()
        body = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        connection.close()  # who is broken off connects anew
        return Answered(0, repr(error), {}, time.monotonic() - began)
    return Answered(
        answer.status, body, {name.lower(): value for name, value in answer.getheaders()}, time.monotonic() - began
    )


class Crowd:
    """Clients who ask one after another until they are told to stop: some over one connection each, some over many."""

    def __init__(self, stand: Stand, clients: int = 4) -> None:
        self.answers: list[Answered] = []
        self._stand = stand
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.answers) > len(self._threads), "clients are answered", PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int = 20) -> None:
        """Wait until so many more requests were answered."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted, "more is answered", PATIENCE)

    @property
    def failed(self) -> list[Answered]:
        return [answer for answer in self.answers if answer.status != 200]

    def _ask(self, keeps: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._stand.port, timeout=PATIENCE)
        while not self._over.is_set():
            self.answers.append(ask(connection))
            if not keeps:
                connection.close()
            if self.answers[-1].headers.get("connection") == "close":
                connection.close()
        connection.close()


class Stream(threading.Thread):
    """A client of a stream of events, which goes on until it is told to end; he notes all that came."""

    def __init__(self, stand: Stand) -> None:
        super().__init__()
        self.came: list[str] = []
        self._address = ("127.0.0.1", stand.port)
        self._told = stand.folder / f"end-{id(self)}"
        self.start()
        until(lambda: bool(self.came), "the stream begins", PATIENCE)

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"/stream?until={self._told}")
            answer = connection.getresponse()
            for line in answer:
                if line.startswith(b"data: "):
                    self.came.append(line[6:].decode().strip())

    def is_all_of(self, program: str) -> bool:
        """End it; whether each piece came, in order, from that program, to the last."""
        self._told.touch()
        self.join(PATIENCE)
        count = len(self.came) - 1
        return self.came == [*(f"{program} {number}" for number in range(count)), f"{program} {count} last"]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free(count: int) -> list[int]:
    """Ports that nobody has now."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def standing(program: str = "") -> Iterator[Stand]:
    with tempfile.TemporaryDirectory(prefix="front-") as folder:
        stand = Stand(Path(folder), program)
        try:
            yield stand
        finally:
            stand.close()
