"""What may stand before a service: nothing, HAProxy as we write it, nginx by a hand-written file."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template

from provision.agent.front.log import SOCKET
from provision.agent.front.runtime import Runtime, command
from provision.agent.front.values import DRAIN, READY, Backend, Bind, Front, Route, Server

_PATIENCE_SECONDS = 60.0
_SEARCHED = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_LISTENER = """
import sys
from provision.agent.front.listening import Log, Minutes
from provision.agent.keeper.rings import Counts
minutes = Minutes(Counts)
with Log(sys.argv[1]) as log:
    while True:
        for served in log.served(1.0):
            minutes.add(served)
"""
HAND_WRITTEN = Path(__file__).parent / "peers/nginx.conf"


def program(name: str) -> str:
    """Its path; ends this program where it is missing."""
    found = shutil.which(name, path=_SEARCHED)
    if not found:
        sys.exit(f"{name} is missing. Next: scripts/install-packages bench")
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.01)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def spent(pid: int) -> float:
    """Seconds of processor that a process and all below it have had (proc(5), "schedstat")."""
    tasks = Path(f"/proc/{pid}/task")
    own = sum(int((each / "schedstat").read_text().split()[0]) for each in tasks.iterdir()) / 1e9
    return own + sum(spent(int(child)) for child in (tasks / str(pid) / "children").read_text().split())


def start_service(port: int) -> subprocess.Popen[bytes]:
    """A service that answers on that port."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.tokens", str(port)], stdin=subprocess.DEVNULL)
    until(lambda: listens(port), "the service")
    return process


class Way:
    """A way from clients to a service; `port` is where clients ask."""

    name = "direct"

    def __init__(self, folder: Path, servers: tuple[int, int]) -> None:
        self.folder = folder
        self.servers = servers
        self.port = servers[0]
        self._process: subprocess.Popen[bytes] | None = None

    def spent(self) -> float:
        """Seconds of processor that it has had."""
        return spent(self._process.pid) if self._process else 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        yield

    def switch(self, old: subprocess.Popen[bytes], _number: int, /) -> subprocess.Popen[bytes]:
        """Bring a new service up and let the old one end what it has begun; which one answers now.

        Without anything in between, the port changes hands: the old one gives it up, then the new one takes it.
        """
        old.terminate()
        until(lambda: not listens(self.port), "the old service")
        return start_service(self.port)


class Ours(Way):
    """HAProxy as `provision.agent.front` writes it."""

    name = "HAProxy, ours"
    log = False

    def __init__(self, folder: Path, servers: tuple[int, int]) -> None:
        super().__init__(folder, servers)
        self.port = free_port()
        self.folder = folder / "haproxy"
        self.folder.mkdir(mode=0o700)
        self._runtime = Runtime(str(self.folder), program("haproxy"))

    def _front(self, active: int) -> Front:
        servers = (
            Server(f"web.{number}", port, state=READY if number == active else DRAIN)
            for number, port in enumerate(self.servers)
        )
        return Front(
            folder=str(self.folder),
            name="bench",
            binds=(Bind(self.port, (Route("web"),), "127.0.0.1"),),
            backends=(Backend("web", tuple(servers)),),
            log=self.log,
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._runtime.become(self._front(0))
        with contextlib.ExitStack() as running:
            if self.log:
                running.enter_context(started(sys.executable, "-c", _LISTENER, str(self.folder)))
                until((self.folder / SOCKET).exists, "who listens")
            self._process = running.enter_context(started(*command(program("haproxy"), str(self.folder))))
            until(lambda: listens(self.port), self.name)
            yield

    def switch(self, old: subprocess.Popen[bytes], number: int, /) -> subprocess.Popen[bytes]:
        new = start_service(self.servers[number % 2])
        self._runtime.become(self._front(number % 2))
        until(lambda: self._runtime.drained("web", f"web.{(number + 1) % 2}"), "the old service's last stream")
        old.terminate()
        return new


class Listened(Ours):
    """The same, with a line a request that a Python process counts, as an analysis needs."""

    name = "HAProxy, ours, listened to"
    log = True

    def __init__(self, folder: Path, servers: tuple[int, int]) -> None:
        (place := folder / "listened").mkdir()
        super().__init__(place, servers)


class Nginx(Way):
    """nginx, by `peers/nginx.conf` and a reload."""

    name = "nginx, by hand"

    def __init__(self, folder: Path, servers: tuple[int, int]) -> None:
        super().__init__(folder, servers)
        self.port = free_port()
        self.folder = folder / "nginx"
        self.folder.mkdir()

    def _write(self, active: int) -> Path:
        path = self.folder / "nginx.conf"
        text = Template(HAND_WRITTEN.read_text())
        path.write_text(text.safe_substitute(folder=self.folder, port=self.port, server=self.servers[active]))
        return path

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with started(program("nginx"), "-c", str(self._write(0))) as self._process:
            until(lambda: listens(self.port), self.name)
            yield

    def switch(self, old: subprocess.Popen[bytes], number: int, /) -> subprocess.Popen[bytes]:
        new = start_service(self.servers[number % 2])
        self._write(number % 2)
        assert self._process is not None
        before = self._workers()
        self._process.send_signal(signal.SIGHUP)
        until(lambda: not before & self._workers(), "nginx's old workers")
        old.terminate()
        return new

    def _workers(self) -> set[str]:
        """Those of nginx's own; old ones end with their last stream."""
        assert self._process is not None
        pid = self._process.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
