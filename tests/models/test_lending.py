"""Hosts that lend one another what they have of a model: each piece comes once, and from whom it is right."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provision.agent import lend
from provision.agent.lenders import Known, Talk
from provision.agent.pieces import RECORD
from provision.agent.writing import Again
from provision.contract.bringing import FetchModel
from provision.contract.layout import Layout
from provision.contract.lent import Lender, LendModel
from provision.targets.fleet import Fleet, _certificate
from tests.cli.ports import free_ports
from tests.faults.hooks import until
from tests.models.conftest import Hub

pytestmark = pytest.mark.root  # folders of its own, below which nobody else may write

PIECE = 1 << 20
CONTENT = b"".join(bytes([number]) * PIECE for number in range(1, 13)) + b"the end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SECRET = "a secret of this transfer"
_HOST = f"""
import json, sys
from provision.agent import pieces
pieces.PIECE = {4 * PIECE}  # of a small file a fourth
from provision.agent import download, fetch, lend
from provision.contract.failure import Failure
from provision.contract.layout import Layout
tell = lambda what: print(json.dumps(what), flush=True)
layout = Layout(sys.argv[1])
for line in sys.stdin:
    request = json.loads(line)
    try:
        if request["op"] == "lend-model":
            lending = lend.Lending(layout, request)
            tell(lending.answer())
        else:
            told = lambda event: None if event["event"] == "progress" else tell(event)
            tell(fetch.fetch(layout, request, told, lambda: None, lending))
    except Failure as failure:
        tell(failure.message())
"""

_SLOW_STARTER = """
import threading, time
start = threading.Thread.start
def slowly(thread):
    start(thread)
    if threading.current_thread() is threading.main_thread():
        time.sleep(0.5)  # the other is further by then
threading.Thread.start = slowly
"""


def _request(host: str, limit: int = 0, mapped: Sequence[tuple[str, int]] = ()) -> LendModel:
    certificate, key = _certificate()
    return {
        "op": "lend-model",
        "sha256": SHA256,
        "name": "big.gguf",
        "bytes": len(CONTENT),
        "limit": limit,
        "host": host,
        "addresses": ["192.0.2.1", "127.0.0.1"],  # nobody is at the first
        "port": 0,
        "mapped": [*mapped],
        "secret": SECRET,
        "certificate": certificate,
        "key": key,
    }


class Host:
    """One that takes part, in a process of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.layout = name, Layout(str(folder / name))
        self.first = ""  # what it runs before anything

    @cached_property
    def process(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", self.first + _HOST, self.layout.root]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> None:
        if "process" in vars(self):
            self.process.kill()
            self.process.communicate()

    def lend(self, limit: int = 0, mapped: Sequence[tuple[str, int]] = ()) -> Lender:
        self.say(_request(self.name, limit, mapped))
        lender: Lender = {**self.hear()["lender"], "addresses": ["192.0.2.1", "127.0.0.1"]}
        return lender

    def has(self, pieces: dict[int, bytes], digests: dict[int, bytes] | None = None) -> None:
        """So much has arrived of it; what is written down of that may be of something else."""
        folder = Path(self.layout.incoming_model(SHA256))
        folder.mkdir(parents=True)
        with (folder / "big.gguf").open("wb") as file:
            for index, content in pieces.items():
                file.seek(index * PIECE)
                file.write(content)
        noted = {**pieces, **(digests or {})}
        lines = [f"{index} {hashlib.sha256(content).hexdigest()}" for index, content in noted.items()]
        (folder / RECORD).write_text("\n".join([f"{len(CONTENT)} {PIECE}", *lines, ""]))

    def fetch(self, url: str, lenders: list[Lender], limit: int = 0) -> None:
        request: FetchModel = {
            "op": "fetch-model",
            "sha256": SHA256,
            "name": "big.gguf",
            "bytes": len(CONTENT),
            "url": url,
            "authorization": "",
            "limit": limit,
            "lenders": lenders,
        }
        self.say(request)

    def say(self, request: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]

    def ended(self) -> tuple[dict[str, Any], list[str]]:
        """The answer, and the warnings before it."""
        warned = []
        while (said := self.hear())["event"] == "warning":
            warned.append(said["text"])
        return said, warned

    @property
    def is_whole(self) -> bool:
        return Path(self.layout.model(SHA256), "big.gguf").read_bytes() == CONTENT


def _part(index: int) -> bytes:
    return CONTENT[index * PIECE : (index + 1) * PIECE]


_ALL = {index: _part(index) for index in range(13)}


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    found = [Host(tmp_path, f"host-{number}") for number in range(3)]
    yield found
    for host in found:
        host.end()


@pytest.fixture
def url(hub: Hub) -> str:
    hub.put("acme/big", "big.gguf", CONTENT)
    return f"{hub.url}/acme/big/resolve/main/big.gguf"


def _asked(hub: Hub) -> Counter[str]:
    return Counter(each["range"] for each in hub.asked if each["files"])


def test_several_hosts_that_fetch_at_once_ask_the_source_for_each_piece_once(
    hosts: list[Host], hub: Hub, url: str
) -> None:
    lenders = [host.lend() for host in hosts]
    for number, host in enumerate(hosts):
        host.fetch(url, lenders[:number], limit=6 * PIECE)  # the first ones get to know the others by being asked

    assert [host.ended()[0]["event"] for host in hosts] == ["result"] * 3
    assert all(host.is_whole for host in hosts)
    asked = _asked(hub)
    assert len(asked) == 13
    assert sum(asked.values()) <= 13 + 2, "each once; two may have begun with one before they knew each other"


def test_a_model_that_another_host_has_comes_without_any_source(hosts: list[Host]) -> None:
    first, second, _ = hosts
    folder = Path(first.layout.model(SHA256))
    folder.mkdir(parents=True)
    (folder / "called otherwise.gguf").write_bytes(CONTENT)
    lender = first.lend()
    second.lend()
    second.fetch("", [lender])

    assert second.ended() == ({"event": "result", "present": False}, [])
    assert second.is_whole


@contextlib.contextmanager
def _mapped(folder: Path, outside: int, inside: int) -> Iterator[None]:
    """While connections to the one port lead to the other, as a provider's do to a machine."""
    config = folder / "mapped.cfg"
    config.write_text(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
        f"listen it\n  bind 127.0.0.1:{outside}\n  server it 127.0.0.1:{inside}\n"
    )
    with subprocess.Popen(["/usr/sbin/haproxy", "-f", str(config), "-db"]) as process:
        try:
            yield
        finally:
            process.kill()


def test_a_host_that_is_reached_at_another_port_alone_lends(tmp_path: Path, hosts: list[Host]) -> None:
    first, second, _ = hosts
    first.has(_ALL)
    (outside,) = free_ports(1)
    lender = first.lend(mapped=[("127.0.0.1", outside)])
    with _mapped(tmp_path, outside, lender["port"]):
        second.lend()
        second.fetch("", [{**lender, "addresses": ["192.0.2.1"]}])

        assert second.ended()[0]["event"] == "result"
    assert second.is_whole


def test_a_rented_machine_is_said_to_be_where_its_provider_leads_to_it() -> None:
    asked: list[LendModel] = []
    reached = {7411: ("192.0.2.9", 40123)}
    deployment = SimpleNamespace(
        target=SimpleNamespace(provider="vast", lend=7411),
        machines=SimpleNamespace(reached=lambda _, port: reached.get(port)),
    )
    conversation = SimpleNamespace(ask=lambda request, _: asked.append(request) or {"lender": {}})
    session = SimpleNamespace(
        spec=SimpleNamespace(name="gpu-01"), connection=SimpleNamespace(address="192.0.2.9"), conversation=conversation
    )
    model = SimpleNamespace(sha256=SHA256, relative="models/big.gguf", bytes=len(CONTENT), limit=0)
    for port in (7411, 7412, True):
        deployment.target.lend = port
        Fleet(cast("Any", deployment))._lend(
            cast("Any", session), cast("Any", SimpleNamespace(secret="")), cast("Any", model)
        )

    assert [(each["port"], each["mapped"]) for each in asked] == [(7411, [("192.0.2.9", 40123)]), (7412, []), (0, [])]


def test_a_host_that_answers_before_anything_else_is_ready_is_asked(hosts: list[Host]) -> None:
    first, second, _ = hosts
    first.has(_ALL)
    lender = first.lend()
    second.first = _SLOW_STARTER
    second.lend()
    second.fetch("", [lender])

    assert second.ended()[0]["event"] == "result"
    assert second.is_whole


@pytest.mark.slow
def test_what_rsync_brings_is_lent_while_it_comes(hosts: list[Host]) -> None:
    first, second, _ = hosts
    folder = Path(first.layout.incoming_model(SHA256))
    folder.mkdir(parents=True)
    lender = first.lend()
    second.lend()
    with (folder / "big.gguf").open("wb") as file:
        file.write(CONTENT[: 5 * PIECE + 3])
        file.flush()
        second.fetch("", [lender])
        record = Path(second.layout.incoming_model(SHA256), RECORD)
        until(lambda: record.exists() and len(record.read_text().splitlines()) == 1 + 5, "five pieces are there")
        file.write(CONTENT[5 * PIECE + 3 :])

    assert second.ended()[0]["event"] == "result"
    assert second.is_whole


def test_a_host_that_dies_while_it_lends_costs_no_more_than_the_piece_on_its_way(
    hosts: list[Host], hub: Hub, url: str
) -> None:
    first, second, _ = hosts
    first.has(_ALL)
    lender = first.lend(limit=4 * PIECE)
    second.lend()
    second.fetch(url, [lender], limit=8 * PIECE)
    record = Path(second.layout.incoming_model(SHA256), RECORD)
    until(lambda: record.exists() and len(record.read_text().splitlines()) > 3, "some pieces are there")
    first.process.kill()

    assert second.ended()[0]["event"] == "result"
    assert second.is_whole
    assert max(_asked(hub).values()) == 1, "nothing that was here is asked for again"


@pytest.mark.slow
def test_a_host_that_dies_and_has_what_nobody_else_has_is_a_sentence_and_the_rest_is_kept(hosts: list[Host]) -> None:
    first, second, _ = hosts
    first.has(_ALL)
    lender = first.lend(limit=4 * PIECE)
    second.lend()
    second.fetch("", [lender])
    record = Path(second.layout.incoming_model(SHA256), RECORD)
    until(lambda: record.exists() and len(record.read_text().splitlines()) > 3, "some pieces are there")
    first.process.kill()

    said, _ = second.ended()
    assert said["what"] == "no other host lends model big.gguf any more."
    assert said["facts"] == {"reached": True}
    kept = len(record.read_text().splitlines())
    again = hosts[2]
    again.has(_ALL)
    second.fetch("", [again.lend()])
    assert second.ended()[0]["event"] == "result"
    assert second.is_whole
    assert kept > 3


def test_a_disk_that_gives_back_something_else_is_found_by_the_piece_and_its_host_named(
    hosts: list[Host], hub: Hub, url: str
) -> None:
    first, second, _ = hosts
    first.has({**_ALL, 5: bytes(PIECE)}, digests={5: _part(5)})
    lender = first.lend()
    second.lend()
    second.fetch(url, [lender], limit=8 * PIECE)

    said, warned = second.ended()
    assert said["event"] == "result"
    assert second.is_whole
    assert max(_asked(hub).values()) == 1
    assert warned in ([], ["host-0 sent piece 5 of big.gguf otherwise than it said; it is not asked any more."])


@pytest.mark.parametrize(
    "honest",
    [pytest.param(True, id="another knows better"), pytest.param(False, id="nobody else", marks=pytest.mark.slow)],
)
def test_what_a_host_lends_wrong_and_says_is_right_is_found_out_and_named(
    hosts: list[Host], hub: Hub, url: str, honest: bool
) -> None:
    liar, second, other = hosts
    liar.has({**_ALL, 5: bytes(PIECE)})
    lenders = [liar.lend()]
    if honest:
        other.has({}, digests={5: _part(5)})  # it says what came there, and can't send it
        lenders.append(other.lend())
    second.has({index: part for index, part in _ALL.items() if index != 5})
    second.lend()
    hub.fail("500", "500")
    second.fetch(url, lenders)

    said, warned = second.ended()
    assert said["event"] == "result"
    assert second.is_whole
    assert _asked(hub).keys() <= {f"bytes={5 * PIECE}-{6 * PIECE - 1}"}, "nothing else is asked for again"
    assert warned[1:] in ([], ["host-0 lent a piece of big.gguf that is another at its source."])


@pytest.mark.slow
def test_a_source_that_is_gone_in_the_middle_stops_nobody_while_others_have_the_rest(
    hosts: list[Host], hub: Hub, url: str
) -> None:
    first, second, third = hosts
    first.has({index: _part(index) for index in range(6)})
    third.has({index: _part(index) for index in range(6, 13)})
    hub.fail(*["gone"] * 20)
    lenders = [first.lend(), third.lend()]
    second.lend()
    second.fetch(url, lenders)

    assert second.ended()[0]["event"] == "result"
    assert second.is_whole


@pytest.mark.slow
def test_a_source_that_is_gone_while_nobody_has_the_rest_is_its_own_sentence(
    hosts: list[Host], hub: Hub, url: str
) -> None:
    first, second, _ = hosts
    first.has({index: _part(index) for index in range(6)})
    hub.fail(*["gone"] * 20)
    lender = first.lend()
    second.lend()
    second.fetch(url, [lender])
    record = Path(second.layout.incoming_model(SHA256), RECORD)
    until(lambda: record.exists() and len(record.read_text().splitlines()) == 1 + 6, "what others have is there")
    first.process.kill()

    assert "HTTP 404" in second.ended()[0]["what"]
    assert record.exists()


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
    first.has(_ALL)
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


def test_who_led_the_transfer_and_is_gone_unheard_leaves_no_port_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lend, "_FORGOTTEN", 0.5)
    lender = lend.Lending(Layout(str(tmp_path / "host")), _request("host")).me

    def is_closed() -> bool:
        try:
            socket.create_connection(("127.0.0.1", lender["port"]), 1).close()
        except ConnectionRefusedError:
            return True
        return False

    assert not is_closed()
    until(is_closed, "nobody listens any more")


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
