"""Who else speaks to a host that lends: others in its place, without its secret, or with what can't be."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provision.agent import lend
from provision.agent.lenders import Known, Talk
from provision.agent.writing import Again
from provision.contract.lent import Lender
from provision.targets.fleet import _certificate
from tests.models.conftest import Hub
from tests.models.lending_host import ALL_PIECES, SECRET, Host

pytestmark = pytest.mark.root  # folders of its own, below which nobody else may write


@contextlib.contextmanager
def _impostor() -> Iterator[tuple[int, list[bytes]]]:
    """Listens with a certificate of its own; where, and what it was told."""
    told: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = _certificate()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        file = Path(f"/proc/self/fd/{_memory(certificate + key)}")
        context.load_cert_chain(file)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with context.wrap_socket(listening.accept()[0], server_side=True) as talk:
                        told.append(talk.recv(4096))

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], told


def _memory(text: str) -> int:
    file = os.memfd_create("test")
    os.write(file, text.encode())
    return file


def test_who_is_at_another_host_s_place_is_told_no_secret(hosts: list[Host], hub: Hub, url: str) -> None:
    first, second, _ = hosts
    lender = first.lend()
    second.lend()
    with _impostor() as (port, told):
        second.fetch(url, [{**lender, "port": port}])

        assert second.ended()[0]["event"] == "result"
        assert not any(told)
    assert second.is_whole


def test_who_shows_no_secret_is_sent_nothing(hosts: list[Host]) -> None:
    first = hosts[0]
    first.has(ALL_PIECES)
    lender = first.lend()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for hello in (
        {"secret": "another", "lender": lender},
        {"secret": "", "lender": lender},
        {"secret": 3},
        {},
        [],
    ):
        talk = context.wrap_socket(socket.create_connection(("127.0.0.1", lender["port"])))
        with talk, contextlib.suppress(OSError):
            talk.sendall(json.dumps(hello).encode() + b"\n" + b'{"piece": 0}\n')
            talk.settimeout(10)
            assert talk.recv(4096) == b""


@pytest.mark.parametrize(
    "answer",
    [
        {"pieces": [[1000000000, ""]], "coming": [], "arrived": 1},
        {"pieces": [], "coming": [13], "arrived": 1},
        {"pieces": [], "coming": [], "arrived": float("inf")},
        {"pieces": [[0]], "coming": [], "arrived": 1},
        {},
        [],
    ],
)
def test_a_host_that_says_what_can_not_be_is_not_believed(answer: object) -> None:
    here, there = socket.socketpair()
    nobody: Lender = {"name": "", "addresses": [], "port": 1, "mapped": [], "certificate": ""}
    with here, there:
        talk = Talk(cast("Any", here), cast("Any", SimpleNamespace(secret=SECRET, me=nobody, count=13)))
        there.sendall(json.dumps(answer).encode() + b"\n")
        with pytest.raises(Again):
            talk.look(Known(nobody))
        talk.close()


def test_a_host_that_names_others_that_can_not_be_stops_no_fetch(hosts: list[Host], hub: Hub, url: str) -> None:
    first = hosts[0]
    lender = first.lend()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    nobody: Any
    odd = {**lender, "addresses": 1}, {**lender, "mapped": [["192.0.2.1"]]}, {**lender, "mapped": [["192.0.2.1", 0]]}
    for nobody in (5, {}, {**lender, "certificate": []}, {**lender, "port": float("inf")}, *odd):
        talk = context.wrap_socket(socket.create_connection(("127.0.0.1", lender["port"])))
        with talk, contextlib.suppress(OSError):
            talk.sendall(json.dumps({"secret": SECRET, "lender": nobody}).encode() + b"\n")
            talk.settimeout(10)
            assert talk.recv(4096) == b""
    first.fetch(url, [])

    assert first.ended() == ({"event": "result", "present": False}, [])
    assert first.is_whole


def test_a_line_that_drips_is_not_waited_for() -> None:
    here, there = socket.socketpair()
    over = threading.Event()

    def drip() -> None:
        while not over.wait(0.05):
            with contextlib.suppress(OSError):
                there.sendall(b" ")

    threading.Thread(target=drip, daemon=True).start()
    with here, there, here.makefile("rb") as stream, pytest.raises(OSError, match="in the middle of a line"):
        lend.said(stream, 1 << 20, 0.5)
    over.set()


def test_a_key_is_in_no_file_and_no_argument(hosts: list[Host]) -> None:
    first = hosts[0]
    first.lend()
    folder = Path(first.layout.root)
    assert not [path for path in folder.rglob("*") if path.is_file()]
    assert b"PRIVATE" not in Path(f"/proc/{first.process.pid}/cmdline").read_bytes()
