"""Hosts that lend one another what they have of a model: each piece comes once, and from whom it is right."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provision.agent import lend
from provision.agent.pieces import RECORD
from provision.contract.layout import Layout
from provision.contract.lent import LendModel
from provision.targets.fleet import Fleet
from tests.cli.ports import free_ports
from tests.faults.hooks import until
from tests.models.conftest import Hub
from tests.models.lending_host import ALL_PIECES, CONTENT, PIECE, SHA256, SLOW_STARTER, Host, lend_request

pytestmark = pytest.mark.root  # folders of its own, below which nobody else may write


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
    first.has(ALL_PIECES)
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
    first.has(ALL_PIECES)
    lender = first.lend()
    second.first = SLOW_STARTER
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
    first.has(ALL_PIECES)
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
    first.has(ALL_PIECES)
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
    again.has(ALL_PIECES)
    second.fetch("", [again.lend()])
    assert second.ended()[0]["event"] == "result"
    assert second.is_whole
    assert kept > 3


def test_a_disk_that_gives_back_something_else_is_found_by_the_piece_and_its_host_named(
    hosts: list[Host], hub: Hub, url: str
) -> None:
    first, second, _ = hosts
    first.has({**ALL_PIECES, 5: bytes(PIECE)}, digests={5: ALL_PIECES[5]})
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
    liar.has({**ALL_PIECES, 5: bytes(PIECE)})
    lenders = [liar.lend()]
    if honest:
        other.has({}, digests={5: ALL_PIECES[5]})  # it says what came there, and can't send it
        lenders.append(other.lend())
    second.has({index: part for index, part in ALL_PIECES.items() if index != 5})
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
    first.has({index: ALL_PIECES[index] for index in range(6)})
    third.has({index: ALL_PIECES[index] for index in range(6, 13)})
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
    first.has({index: ALL_PIECES[index] for index in range(6)})
    hub.fail(*["gone"] * 20)
    lender = first.lend()
    second.lend()
    second.fetch(url, [lender])
    record = Path(second.layout.incoming_model(SHA256), RECORD)
    until(lambda: record.exists() and len(record.read_text().splitlines()) == 1 + 6, "what others have is there")
    first.process.kill()

    assert "HTTP 404" in second.ended()[0]["what"]
    assert record.exists()


def test_who_led_the_transfer_and_is_gone_unheard_leaves_no_port_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lend, "_FORGOTTEN", 0.5)
    lender = lend.Lending(Layout(str(tmp_path / "host")), lend_request("host")).me

    def is_closed() -> bool:
        try:
            socket.create_connection(("127.0.0.1", lender["port"]), 1).close()
        except ConnectionRefusedError:
            return True
        return False

    assert not is_closed()
    until(is_closed, "nobody listens any more")
