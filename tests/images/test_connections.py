"""What a server may do to a connection, and what that means."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provision.errors import RegistryFailed
from provision.images.registry.connection import BadAnswer, Connection
from provision.images.registry.connections import Connections


@pytest.fixture
def ask() -> Callable[[bytes], bytes]:
    """One request to a server that answers each connection with the given bytes, once, and closes it."""
    connections = Connections(pytest.fail, pytest.fail)

    def exchange(answer: bytes) -> bytes:
        def serve() -> None:
            connection = server.accept()[0]
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return connections.ask("GET", f"http://127.0.0.1:{server.getsockname()[1]}/", {}, None).read(100)
        finally:
            thread.join()

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield exchange


def test_a_connection_that_was_closed_while_nothing_was_asked_is_opened_again(ask):
    for _ in range(2):
        assert ask(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") == b"ok"


def test_an_answer_that_is_read_twice_lends_its_connection_once(plain):
    connections = Connections(pytest.fail, pytest.fail)
    url = f"http://{plain.authority}/v2/"
    first = connections.ask("GET", url, {}, None)
    assert (first.read(100), first.read(100)) == (b"{}", b"")
    both = [connections.ask("GET", url, {}, None) for _ in range(2)]
    assert [answer.read(100) for answer in both] == [b"{}", b"{}"]


def test_a_body_without_a_length_ends_with_its_connection(ask):
    for _ in range(2):
        assert ask(b"HTTP/1.1 200 OK\r\n\r\nok") == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
    ],
)
def test_a_body_that_ends_early_is_not_taken_for_a_short_one(answer, ask):
    with pytest.raises(RegistryFailed, match="stopped in the middle"):
        ask(answer)


def test_a_body_is_read_to_a_bound(ask):
    with pytest.raises(RegistryFailed, match="more than 100 bytes"):
        ask(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101)


def _cut(content: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(content) + 1) for place in places}), len(content)]
    return [content[begin:end] for begin, end in pairwise(edges) if begin != end]


@pytest.fixture
def heard() -> Callable[..., tuple[int, dict[str, str], bytes, bool]]:
    """What is read of an answer that arrives in the given parts: status, headers, body, whether the connection ends."""

    def exchange(parts: list[bytes], method: str = "GET") -> tuple[int, dict[str, str], bytes, bool]:
        ours, theirs = socket.socketpair()
        with ours, theirs:

            def serve() -> None:
                theirs.recv(1 << 16)
                for part in parts:
                    theirs.sendall(part)
                theirs.shutdown(socket.SHUT_WR)

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                answer = Connection(ours).ask(method, "/", {"Host": "r.example"})
                return answer.status, answer.headers, b"".join(answer.body()), answer.is_last
            finally:
                thread.join()

    return exchange


_OK = b"HTTP/1.1 200 OK\r\n"
_ANSWERS = {
    "a length": ("GET", _OK + b"Content-Length: 4\r\n\r\nbody", (200, b"body", False)),
    "chunks": (
        "GET",
        _OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n",
        (200, b"body", False),
    ),
    "the end": ("GET", _OK + b"\r\nbody", (200, b"body", True)),
    "closed": ("GET", _OK + b"Connection: close\r\nContent-Length: 4\r\n\r\nbody", (200, b"body", True)),
    "old": ("GET", b"HTTP/1.0 400 Bad Request\r\n\r\nno", (400, b"no", True)),
    "a head alone": ("HEAD", _OK + b"Content-Length: 4\r\n\r\n", (200, b"", False)),
    "nothing": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", False)),
    "interim": (
        "GET",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + _OK + b"Content-Length: 4\r\n\r\nbody",
        (200, b"body", False),
    ),
}


@pytest.mark.parametrize(("method", "sent", "read"), _ANSWERS.values(), ids=_ANSWERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(places=st.lists(st.integers(0, 200), max_size=6))
def test_an_answer_is_the_same_however_it_is_cut(method, sent, read, places, heard):
    status, headers, body, is_last = heard(_cut(sent, places), method)
    assert (status, body, is_last) == read
    assert "link" not in headers


def test_a_header_that_comes_twice_is_a_list(heard):
    sent = _OK + b"WWW-Authenticate: Negotiate\r\nContent-Length: 0\r\nwww-authenticate: Basic realm=x\r\n\r\n"
    assert heard([sent])[1]["www-authenticate"] == "Negotiate, Basic realm=x"


@pytest.mark.parametrize("late", [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!", b"what"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_nobody_asked_for_ends_the_connection(method, late, heard):
    sent = _OK + b"Content-Length: 0\r\n\r\n" + late
    status, headers, body, is_last = heard([sent], method)
    assert (status, headers, body, is_last) == (200, {"content-length": "0"}, b"", True)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ([], "hung up"),
        ([b"\x15\x03\x01\x00\x02\x02\x46"], "does not speak HTTP"),
        ([_OK[:9]], "hung up"),
        ([_OK + b"Upgrade: tls\r\nConnection: upgrade\r\n\r\n"[:3]], "hung up"),
        ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx"], "does not speak HTTP"),
        ([_OK, *[b"X: " + b"y" * 1000 + b"\r\n"] * 70], "do not end"),
        ([_OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"], "does not speak HTTP"),
    ],
)
def test_what_is_no_answer_is_said(sent, why, heard):
    with pytest.raises(BadAnswer, match=why):
        heard(sent)


@pytest.mark.parametrize("token", ["a\r\nHost: elsewhere", "a\nb", "a\0b", "ü"])
def test_nothing_that_a_registry_gives_gets_out_of_its_header(token):
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(RegistryFailed, match="no header can hold"):
        Connection(ours).ask("GET", "/", {"Authorization": f"Bearer {token}"})
