"""What a server may do to a connection, and what that means."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from provision.errors import RegistryFailed
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
