"""Hole 5: a service's secret goes to that service, and to nobody else who listens on its port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provision import rollout
from provision.agent import attend, checks
from provision.agent.checks.check import Failed
from provision.agent.checks.here import Here
from provision.agent.sockets import Bearer
from tests.deploy.world import World, web
from tests.faults.hooks import until

HERE = Path(__file__).parent
TOKEN = "sekret-0123456789"


@contextmanager
def thief(world: World) -> Iterator[str]:
    """Another account on the service's port of 127.0.0.1; where it writes what it was told."""
    out = f"/tmp/told-{world.name}"
    world.host.write(f"/home/ann/thief-{world.name}.py", (HERE / "thief.py").read_bytes())
    command = ["python3", f"/home/ann/thief-{world.name}.py", "127.0.0.1", str(world.port), out]
    with subprocess.Popen(world.host.inside(command, user="ann")) as process:
        try:
            until(lambda: world.host.exec(["test", "-e", out], check=False).returncode == 0, "it listens")
            yield out
        finally:
            for pid in world.host.pids(f"thief-{world.name}.py"):
                world.host.kill(pid)
            process.wait(10)


@pytest.mark.root
def test_who_takes_over_a_port_is_not_given_the_secret_of_its_service(world: World) -> None:
    """Hole 5: `deploy smoke`, and the drain of a stop, by the agent or by the unit itself."""
    shutil.copy(HERE / "moving.py", world.folder)
    shown = {"path": "/metrics", "busy": ["busy"], "token": "API_KEY"}
    check = {"http": "/health", "token": "API_KEY", "timeout": "10s"}
    service = web(
        world.port, command=["python3", "moving.py", "${port}"], secrets=["API_KEY"], metrics=shown, check=check
    )
    world.declare({"web": {**service, "drain": "5s", "user": "www-data"}}, env=f"API_KEY={TOKEN}\n")
    world.up()
    (asked,) = rollout.smoke(world.deployment())
    assert asked.outcome.passed, asked.outcome.sentence
    # Whose it is, an account that is not root can't see, so the unit waits for it.
    world.declare(
        {"web": {**service, "drain": "1s", "user": "www-data", "check": {**check, "timeout": "1s"}}},
        env=f"API_KEY={TOKEN}\n",
    )
    world.host.kill(world.pid("web"), 10)
    until(lambda: not world.answers(), "it has left 127.0.0.1")

    with thief(world) as out:
        (asked,) = rollout.smoke(world.deployment())
        assert world.answers(), "the thief serves"
        world.down()
        told = world.host.read(out).decode()

    assert TOKEN not in told
    assert "/health None" in told
    name = world.program("web")
    assert not asked.outcome.passed
    assert f"port {world.port} of {name} is held by pid " in asked.outcome.sentence
    assert f"thief-{world.name}.py" in asked.outcome.sentence
    assert f", not by {name}: its token was not sent" in asked.outcome.sentence
    if world.platform == "systemd":
        drained = world.host.exec(["journalctl", "-o", "cat", "-u", name]).stdout
    else:
        drained = str(world.events)
    assert "its token was not sent" in drained


# One process that serves as `argv[1]` says, after a fork where that says so.
_SERVER = """
import http.server, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers["Authorization"] == "Bearer sekret-0123456789"
        self.send_response(int(sys.argv[3]) if known else 401)
        self.send_header("Location", sys.argv[4])
        self.end_headers()
        self.wfile.write(str(self.headers["Authorization"]).encode())
    def log_message(self, *_): pass
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = Server((sys.argv[1], 0), Handler, bind_and_activate=False)
if sys.argv[2] == "defers": server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 20)
server.server_bind(); server.server_activate()
print(server.server_address[1], flush=True)
if sys.argv[2] == "forks" and os.fork(): os.wait()
server.serve_forever()
"""


@contextmanager
def serving(address: str, how: str = "", status: int = 200, location: str = "/") -> Iterator[tuple[int, int]]:
    """Its pid and port."""
    command = [sys.executable, "-c", _SERVER, address, how, str(status), location]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            subprocess.run(["kill", "--", f"-{process.pid}"], check=True)


def members(pid: int) -> set[int]:
    from provision.agent import processes

    return processes.family([pid])


def asked(address: str, port: int, pid: int) -> dict[str, object]:
    host = f"[{address}]" if ":" in address else address
    check = {"url": f"http://{host}:{port}/", "status": [200, 302]}
    return checks.PROBES["http"](check, Here(bearer=Bearer(TOKEN, "web", lambda: members(pid))), 5.0)


@pytest.mark.parametrize(
    ("listens", "how", "address"),
    [
        ("127.0.0.1", "", "127.0.0.1"),
        ("0.0.0.0", "forks", "127.0.0.1"),
        ("0.0.0.0", "defers", "127.0.0.1"),
        ("::", "", "127.0.0.1"),
        ("::", "", "::1"),
        ("::1", "defers", "::1"),
    ],
)
def test_a_service_is_given_its_secret_however_it_listens(listens: str, how: str, address: str) -> None:
    with serving(listens, how) as (pid, port):
        assert asked(address, port, pid) == {"status": 200}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_one_that_listens_everywhere_does_not_vouch_for_who_listens_on_one_address(address: str) -> None:
    with serving(address) as (other, port), serving("127.0.0.1") as (pid, _):
        with pytest.raises(Failed, match=rf"port {port} of web is held by pid {other} \(.*, not by web: its token"):
            asked(address, port, pid)
        idle, said = attend.is_idle(port, "/", ["busy"], Bearer(TOKEN, "web", lambda: members(pid)))
    assert idle
    assert address != "127.0.0.1" or "its token was not sent" in said


def test_a_redirection_is_not_followed_with_the_secret() -> None:
    with (
        serving("127.0.0.1") as (_, elsewhere),
        serving("127.0.0.1", status=302, location=f"http://127.0.0.1:{elsewhere}/") as (pid, port),
    ):
        assert asked("127.0.0.1", port, pid) == {"status": 302}


def test_who_listens_and_takes_nothing_is_given_nothing() -> None:
    """A connection that waits to be taken is nobody's yet."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ours = Bearer(TOKEN, "web", lambda: members(1_000_000))
        with pytest.raises(Failed, match=r"is held by pid .* not by web"):
            Here(bearer=ours).ask(f"http://127.0.0.1:{port}/", 5.0)
        got: list[bytes] = []

        def take() -> None:
            connection, _ = listener.accept()
            got.append(connection.recv(4096))

        taker = threading.Thread(target=take)
        taker.start()
        taker.join(5)
    assert TOKEN.encode() not in b"".join(got)


def test_a_service_that_takes_no_connection_is_busy_and_waited_for() -> None:
    """Hole 5: one that works on requests may take the next one late."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ours = Bearer(TOKEN, "web", lambda: {os.getpid()})
        with pytest.raises(Failed, match=r"^web took no connection on port \d+ in 0 s: its token was not sent$"):
            Here(bearer=ours).ask(f"http://127.0.0.1:{port}/", 0.2)
        began = time.monotonic()
        done, said = attend.wait(lambda: attend.is_idle(port, "/", ["busy"], ours), 0.1, lambda: False)
    assert not done
    assert time.monotonic() - began > 0.1
    assert "took no connection" in said


_ASKS = """
import encodings.ascii, encodings.idna, os, sys  # (that account may not read what is loaded later)
from provision.agent import attend
from provision.agent.sockets import Bearer
os.setuid(65534)
print(attend.is_idle(int(sys.argv[1]), "/", ["busy"], Bearer("sekret", "web", lambda: {int(sys.argv[2])})))
"""


@pytest.mark.root
def test_a_holder_that_cannot_be_seen_may_be_the_service_itself_and_is_waited_for() -> None:
    """Hole 5: a service that is not dumpable shows its sockets to nobody but root."""
    with serving("127.0.0.1") as (pid, port):
        asks = [sys.executable, "-c", _ASKS, str(port), str(pid)]
        said = subprocess.run(asks, capture_output=True, text=True, check=True).stdout
    assert said.startswith("(False, ")
    assert "a process of another user, not by web: its token was not sent" in said
