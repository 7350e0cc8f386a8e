"""What a server may do to a connection, and what that means."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest

from provision import connections
from provision.connections import Answer, Connections, Deadline, Peer
from provision.errors import RegistryFailed
from provision.images.registry import wire
from provision.images.registry.wire import Wire

_SECONDS = 30  # more than any of these takes
_DRIP = 0.1  # seconds from byte to byte; an answer lasts several
_REGISTRY = Peer("the registry", RegistryFailed)
_OK = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def _server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The authority of a server that lets `serve` answer each connection, and then closes it."""

    def accept() -> None:
        with contextlib.suppress(OSError):  # closed by the test
            while True:
                threading.Thread(target=answer, args=[server.accept()[0]], daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def _once(content: bytes, connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(content)


def _dripping(at_once: bytes, then: bytes, connection: socket.socket) -> None:
    _once(at_once, connection)
    for sign in then:
        time.sleep(_DRIP)
        connection.sendall(bytes([sign]))


@pytest.fixture
def ask() -> Iterator[Callable[..., Answer]]:
    """One request to a server that answers each connection with the given bytes, once, and closes it."""
    open_ = Connections(pytest.fail, _REGISTRY)

    with contextlib.ExitStack() as stack:

        def exchange(answer: bytes, method: str = "GET") -> Answer:
            authority = stack.enter_context(_server(partial(_once, answer)))
            return _request(open_, authority, method=method)

        yield exchange


def _request(
    open_: Connections, authority: str, headers: Mapping[str, str] | None = None, *, method: str = "GET"
) -> Answer:
    return open_.ask(method, f"http://{authority}/v2/", headers or {}, None, Deadline(_SECONDS))


def test_a_connection_that_was_closed_while_nothing_was_asked_is_opened_again():
    open_ = Connections(pytest.fail, _REGISTRY)
    closed = threading.Semaphore(0)

    def serve(connection: socket.socket) -> None:
        _once(_OK + b"Content-Length: 2\r\n\r\nok", connection)
        connection.close()
        closed.release()

    with _server(serve) as authority:
        for _ in range(2):
            assert _request(open_, authority).read(100) == b"ok"
            assert closed.acquire(timeout=10)


def test_an_answer_that_is_read_twice_lends_its_connection_once(plain):
    open_ = Connections(pytest.fail, _REGISTRY)
    first = _request(open_, plain.authority)
    assert (first.read(100), first.read(100)) == (b"{}", b"")
    both = [_request(open_, plain.authority) for _ in range(2)]
    assert [answer.read(100) for answer in both] == [b"{}", b"{}"]


@pytest.mark.parametrize(
    "answer",
    [
        _OK + b"Content-Length: 3\r\n\r\nok",
        _OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nok",
    ],
)
def test_a_body_that_ends_early_is_not_taken_for_a_short_one(answer, ask):
    with pytest.raises(RegistryFailed, match="stopped in the middle"):
        ask(answer).read(100)


def test_a_body_is_read_to_a_bound(ask):
    with pytest.raises(RegistryFailed, match="more than 100 bytes"):
        ask(_OK + b"\r\n" + b"x" * 101).read(100)


@pytest.mark.parametrize(
    ("method", "sent", "status", "body"),
    [
        ("GET", _OK + b"Content-Length: 4\r\n\r\nbody", 200, b"body"),
        ("GET", _OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n", 200, b"body"),
        ("GET", _OK + b"\r\nbody", 200, b"body"),
        ("GET", _OK + b"Connection: close\r\nContent-Length: 4\r\n\r\nbody", 200, b"body"),
        ("GET", _OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbody", 200, b"body"),
        ("GET", b"HTTP/1.0 400 Bad Request\r\n\r\nno", 400, b"no"),
        ("HEAD", _OK + b"Content-Length: 4\r\n\r\n", 200, b""),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (
            "GET",
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + _OK + b"Content-Length: 4\r\n\r\nbody",
            200,
            b"body",
        ),
    ],
    ids=["a length", "chunks", "the end", "closed", "a name", "old", "a head alone", "nothing", "interim"],
)
def test_every_way_to_end_an_answer_is_understood(method, sent, status, body, ask):
    answer = ask(sent, method)
    assert (answer.status, answer.read(100)) == (status, body)
    assert "link" not in answer.headers


def test_a_header_that_comes_twice_is_a_list(ask):
    answer = ask(_OK + b"WWW-Authenticate: Negotiate\r\nContent-Length: 0\r\nwww-authenticate: Basic realm=x\r\n\r\n")
    assert answer.headers["www-authenticate"] == "Negotiate, Basic realm=x"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_nobody_asked_for_is_not_taken_for_the_next_answer(method):
    def serve(connection: socket.socket) -> None:
        _once(_OK + b"Content-Length: 0\r\n\r\n" + b"HTTP/1.1 418 Unasked\r\nContent-Length: 0\r\n\r\n", connection)
        _once(_OK + b"Content-Length: 0\r\n\r\n", connection)

    open_ = Connections(pytest.fail, _REGISTRY)
    with _server(serve) as authority:
        for _ in range(2):
            answer = _request(open_, authority, method=method)
            assert (answer.status, answer.read(100)) == (200, b"")


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "closed connection without response"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "does not speak HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx", "does not speak HTTP"),
        (_OK + b"X: y\r\n" * 200, "does not speak HTTP"),
        (_OK + b"X: " + b"y" * (1 << 17), "does not speak HTTP"),
    ],
    ids=["silence", "TLS", "another protocol", "headers without end", "a header without end"],
)
def test_what_is_no_answer_is_said(sent, why, ask):
    with pytest.raises(OSError, match=why):
        ask(sent)


@pytest.mark.parametrize("token", ["a\r\nHost: elsewhere", "a\nb", "a\n b", "a\0b", "ü"])
def test_nothing_that_a_registry_gives_gets_out_of_its_header(token, plain):
    with pytest.raises(RegistryFailed, match="no header can hold"):
        _request(Connections(pytest.fail, _REGISTRY), plain.authority, {"Authorization": f"Bearer {token}"})


_DRIPS = {
    "the head": (b"", _OK + b"X: y\r\nContent-Length: 2\r\n\r\nok"),
    "interim answers": (b"", (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3) + _OK + b"Content-Length: 2\r\n\r\nok"),
    "a body with a length": (_OK + b"Content-Length: 40\r\n\r\n", b"x" * 40),
    "a body in chunks": (_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 7 + b"0\r\n\r\n"),
    "a body to the end": (_OK + b"\r\n", b"x" * 40),
}


@pytest.mark.parametrize(("at_once", "then"), _DRIPS.values(), ids=_DRIPS)
def test_who_sends_a_byte_now_and_then_keeps_nobody_longer_than_the_deadline(at_once, then, monkeypatch):
    monkeypatch.setattr(wire, "_SECONDS", 10 * _DRIP)
    with (
        _server(partial(_dripping, at_once, then)) as authority,
        pytest.raises(RegistryFailed, match=r"does not answer|stopped in the middle") as failure,
    ):
        Wire(authority, {}).send("GET", "/v2/", headers={}).read(100)
    assert "timed out" in failure.value.why


def test_a_large_body_gets_the_time_that_its_size_takes(monkeypatch):
    monkeypatch.setattr(wire, "_SECONDS", 10 * _DRIP)
    monkeypatch.setattr(connections, "_SLOWEST", 1 / _DRIP)
    monkeypatch.setattr(connections, "CHUNK", 1)
    with _server(partial(_dripping, _OK + b"Content-Length: 20\r\n\r\n", b"x" * 20)) as authority:
        assert Wire(authority, {}).send("GET", "/v2/", headers={}).read(100) == b"x" * 20


def test_who_takes_a_body_too_slowly_keeps_nobody_longer_than_the_deadline(monkeypatch):
    def serve(connection: socket.socket) -> None:
        _once(_OK + b"Content-Length: 0\r\n\r\n", connection)
        while connection.recv(1 << 17):
            time.sleep(_DRIP)

    with _server(serve) as authority:
        wire_ = Wire(authority, {})
        wire_.send("GET", "/v2/", headers={}).finish()
        monkeypatch.setattr(wire, "_SECONDS", 10 * _DRIP)
        monkeypatch.setattr(connections, "_SLOWEST", 1 << 30)
        with pytest.raises(RegistryFailed, match="does not answer") as failure:
            wire_.send("PUT", "/v2/", headers={}, body=bytes(64 << 20))
    assert "timed out" in failure.value.why
