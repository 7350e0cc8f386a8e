"""Who answers us drips, floods or lies: each place where we read ends it in a sentence, in time and with little room.

What a host's agent says has a table of its own, `test_lying_host`; rsync and start-up files are in `tests/hosts`.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from bitnet.watchdog.sample import Health, take_sample
from provision import hosts
from provision.agent import attend
from provision.agent.checks.check import Failed
from provision.agent.checks.here import Here
from provision.agent.supervisors import docker_engine, supervisord_rpc
from provision.agent.supervisors.supervisord_config import Instance
from provision.contract.failure import Failure
from provision.errors import RegistryFailed, Unreachable
from provision.images.registry import referrers, tls, wire
from provision.images.registry.reference import parse
from provision.images.registry.repository import connect

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
DEEP = b"[" * 100_000

# What is said first, and then again and again; a byte at a time drips.
PEERS: dict[str, tuple[bytes, bytes]] = {
    "drips a status line": (b"HTTP/1.1 200 ", b"x"),
    "drips a head": (OK + b"X: ", b"x"),
    "drips a body": (OK + b"\r\n", b"x"),
    "drips what is in between": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips the size of a chunk": (CHUNKED, b"1"),
    "drips what follows the last chunk": (CHUNKED + b"0\r\n", b"x: y\r\n"),
    "floods a status line": (b"HTTP/1.1 200 ", b"x" * 65536),
    "floods a head": (OK, b"X: y\r\n" * 10_000),
    "floods a body": (OK + b"\r\n", b"x" * 65536),
    "floods the size of a chunk": (CHUNKED, b"0" * 65536),
    "a chunk below nothing": (CHUNKED + b"-1\r\n", b"x" * 65536),
    "a length below nothing": (OK + b"Content-Length: -1\r\n\r\n", b"x" * 65536),
    "a length beyond everything": (OK + b"Content-Length: 99999999999999999999\r\n\r\n", b"x" * 65536),
    "nested": (OK + b"Content-Length: 100000\r\n\r\n" + DEEP, b"x" * 65536),
    "no HTTP": (b"\xff\x00SSH-2.0-x\r\n", b"\xfe" * 65536),
}


SSH = b"SSH-2.0-x\r\n"
SERVERS: dict[str, tuple[bytes, bytes]] = {
    "drips its version": (b"SSH-2.0-", b"x"),
    "drips what comes before its version": (b"", b"x"),
    "drips lines before its version": (b"", b"x\r\n"),
    "floods its version": (b"SSH-2.0-", b"x" * 65536),
    "floods lines before its version": (b"", b"x\r\n" * 10_000),
    "drips a packet": (SSH + b"\0\0\x7f\xf8\x0a\x14", b"x"),
    "a packet beyond everything": (SSH + b"\xff\xff\xff\xf8\x0a", b"x" * 65536),
    "a packet below nothing": (SSH + b"\0\0\0\0\0", b"x" * 65536),
    "floods what may be ignored": (SSH, (b"\0\0\x00\x0c\x06\x02\0\0\0\0" + b"x" * 6) * 4096),
    "drips what may be ignored": (SSH, b"\0\0\x00\x0c\x06\x02\0\0\0\0" + b"x" * 6),
    "no SSH": (b"HTTP/1.1 400 \xff\r\n\r\n", b"\xfe" * 65536),
}


@contextmanager
def speaking(listener: socket.socket, head: bytes, drip: bytes) -> Iterator[list[int]]:
    """Lets `listener` say so to whoever connects; how many bytes of it were taken."""
    over, taken = threading.Event(), [0]

    def tell(connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(head)
                while not over.wait(0.02 if len(drip) < 100 else 0):
                    connection.sendall(drip)
                    taken[0] += len(drip)
            except OSError:
                pass

    def serve() -> None:
        while not over.is_set():
            try:
                threading.Thread(target=tell, args=(listener.accept()[0],), daemon=True).start()
            except OSError:
                return

    with listener:
        threading.Thread(target=serve, daemon=True).start()
        yield taken
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


ROOM = 60 << 20  # bytes that may have been taken meanwhile, those in the kernel's buffers with them


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> Iterator[str]:
    """The authority of such a peer."""
    listener = socket.create_server(("127.0.0.1", 0))
    with speaking(listener, *PEERS[request.param]) as taken:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        assert taken[0] < ROOM


@pytest.fixture(params=PEERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The unix socket of such a peer."""
    listener, place = socket.socket(socket.AF_UNIX), str(tmp_path / "socket")
    listener.bind(place)
    listener.listen()
    with speaking(listener, *PEERS[request.param]) as taken:
        yield place
        assert taken[0] < ROOM


def test_a_service_that_is_checked(peer: str) -> None:
    try:
        answer = Here().ask(f"http://{peer}/health", 0.3)
    except Failed as why:
        assert str(why)
    else:  # its beginning is looked at
        assert len(answer.text) <= 1 << 20
        assert answer.gist


def test_a_service_that_is_drained(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attend, "_SECONDS", 0.3)
    _, said = attend.is_idle(int(peer.partition(":")[2]), "/metrics", ["busy"])
    assert said


def test_a_server_that_is_watched(peer: str) -> None:
    sample = take_sample(f"http://{peer}", 0.3)
    assert sample.health is Health.SILENT or not sample.progress
    assert sample.detail


def test_a_registry(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_SECONDS", 0.3)
    monkeypatch.setattr(wire, "_RETRIES", 0)
    monkeypatch.setattr(tls, "CONNECT", 0.2)
    repository = connect(parse(f"{peer}/a/b:c"), write=False, environ={"HOME": "/nowhere", "DOCKER_CONFIG": "/nowhere"})
    with pytest.raises(RegistryFailed):
        repository.get("c")


def test_the_docker_engine(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine, "SOCKET", path)
    monkeypatch.setattr(docker_engine, "_LARGEST", 1 << 20)
    try:
        assert docker_engine.ask("GET", "/version", seconds=0.3) == {}
    except Failure as failure:
        assert "the Docker Engine" in str(failure)


def test_supervisord(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisord_rpc, "_SECONDS", 0.3)
    monkeypatch.setattr(supervisord_rpc, "_LARGEST", 1 << 20)
    rpc = supervisord_rpc.Rpc(Instance(config="", socket=path, include="", suffix="", own=False))
    assert not rpc.answers()
    with pytest.raises(Failure):
        rpc.ask("getAllProcessInfo")


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
@pytest.mark.parametrize("ask", [partial(hosts.connect, retries=0), hosts.fetch_key], ids=["connect", "fetch_key"])
def test_an_ssh_server(server: tuple[bytes, bytes], ask: Callable[[hosts.HostSpec], object], tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with speaking(listener, *server) as taken:
        port = listener.getsockname()[1]
        spec = hosts.HostSpec(
            "there", "127.0.0.1", "root", port, None, (tmp_path / "pins",), connect_timeout=0.3, ssh_config=()
        )
        with pytest.raises(Unreachable) as caught:
            ask(spec)
        assert "there" in str(caught.value) or caught.value.next_step
        assert taken[0] < ROOM


@pytest.mark.parametrize("number", ["NaN", "1e999", "-1e999", "1" * 5000, "many"])
def test_numbers_that_are_none(number: str) -> None:
    body = f"busy {number}\nllamacpp:requests_processing {number}\n".encode()
    listener = socket.create_server(("127.0.0.1", 0))
    with speaking(listener, OK + b"Content-Length: %d\r\n\r\n" % len(body) + body, b" "):
        port = listener.getsockname()[1]
        assert take_sample(f"http://127.0.0.1:{port}", 5.0).in_flight is None
        idle, said = attend.is_idle(port, "/metrics", ["busy"])
        assert idle, said


LIES: dict[str, object] = {
    "no list": {"manifests": 3},
    "a list of words": {"manifests": ["x"]},
    "a size below nothing": {"manifests": [{"mediaType": "", "digest": "sha256:" + "0" * 64, "size": -1}]},
    "a size that is none": {"manifests": [{"mediaType": "", "digest": "sha256:" + "0" * 64, "size": 1e300}]},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_registry_that_lists_what_cannot_be(lie: object) -> None:
    content = json.dumps(lie).encode()
    listener = socket.create_server(("127.0.0.1", 0))
    with speaking(listener, OK + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(content) + content, b" "):
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
        repository = connect(parse(f"{authority}/a/b:c"), write=False, environ={"DOCKER_CONFIG": "/nowhere"})
        found: Callable[[], object] = lambda: referrers.referrers(repository, "sha256:" + "1" * 64)  # noqa: E731
        try:
            assert found() == []
        except RegistryFailed as failure:
            assert str(failure)
