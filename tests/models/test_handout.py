"""What lies here, asked for by hosts through their own connections: parts, by who shows the secret, few at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.agent import download, fetch, writing
from provision.contract.bringing import FetchModel
from provision.contract.failure import Failure
from provision.contract.layout import SHIPPED, Layout
from provision.hosts import Forbidden, HostConnection, connect
from provision.hosts.sandbox import Sandbox
from provision.hosts.sandbox.layout import Server
from provision.models.access import Access
from provision.targets import handout
from provision.targets.handout import Handout

SIZE = 24 << 20
PART = 12 << 20  # more than lies on the way between two ends


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostConnection]:
    with (
        Sandbox(tmp_path_factory.mktemp("sshd"), server=Server.SSHD) as sandbox,
        connect(sandbox.spec) as connection,
    ):
        yield connection


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a model.gguf"
    file.write_bytes(os.urandom(SIZE))
    return file


@pytest.fixture
def given(file: Path) -> Handout:
    return Handout(file, SIZE, 0)


def _ask(access: Access, part: str) -> urllib.request.Request:
    return urllib.request.Request(access.url, headers={"Range": part, "Authorization": access.authorization})


def _get(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 206
        return bytes(answer.read())


def test_parts_are_sent_to_who_shows_the_secret_for_as_long_as_that_is_wanted(
    host: HostConnection, given: Handout, file: Path
) -> None:
    content = file.read_bytes()
    with given.reached(host) as access:
        assert _get(_ask(access, "bytes=5-1000004")) == content[5:1000005]
        assert _get(_ask(access, f"bytes={SIZE - 3}-{SIZE - 1}")) == content[-3:]
        for shown in ("", "Bearer another", access.authorization[7:], "Bearer \u00e4"):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                _get(_ask(access._replace(authorization=shown), "bytes=0-1"))
        for part in ("", "bytes=-5", "bytes=7-6", f"bytes=0-{SIZE}", "bytes=0-1,3-4", "bytes=0-" + "9" * 40):
            with pytest.raises(urllib.error.HTTPError, match="416"):
                _get(_ask(access, part))

    with pytest.raises(urllib.error.URLError, match="refused"):
        _get(_ask(access, "bytes=0-1"))


def test_what_one_host_was_sent_another_is_sent_where_it_asks_twice(
    host: HostConnection, given: Handout, file: Path
) -> None:
    given.is_elsewhere("another", 0)
    with given.reached(host) as access:
        with pytest.raises(urllib.error.HTTPError, match="409"):
            _get(_ask(access, "bytes=0-9"))
        assert _get(_ask(access, "bytes=0-9")) == file.read_bytes()[:10]


def test_what_a_host_was_sent_that_is_gone_is_nobodys(host: HostConnection, given: Handout, file: Path) -> None:
    with pytest.raises(ConnectionError), given.reached(host) as access:
        assert _get(_ask(access, "bytes=0-9")) == file.read_bytes()[:10]
        raise ConnectionError

    assert not given.is_elsewhere("another", 0)


@contextlib.contextmanager
def _taken_slowly(access: Access) -> Iterator[None]:
    """While somebody asked for a part, and takes nothing of it."""
    with urllib.request.urlopen(_ask(access, f"bytes=0-{PART - 1}"), timeout=30):
        yield


def test_who_takes_nothing_keeps_the_others_waiting_for_a_moment_alone(
    host: HostConnection, given: Handout, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handout, "_SLOW", 4 * PART)
    monkeypatch.setattr(handout, "_WAIT", 0.1)
    monkeypatch.setattr(handout, "_AT_ONCE", 1)
    with given.reached(host) as access, _taken_slowly(access):
        assert _get(_ask(access, f"bytes={PART}-{SIZE - 1}")) == file.read_bytes()[PART:]


def test_who_waits_for_its_turn_hears_something_meanwhile(
    host: HostConnection, given: Handout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handout, "_SLOW", 1)
    monkeypatch.setattr(handout, "_WAIT", 0.1)
    monkeypatch.setattr(handout, "_AT_ONCE", 1)
    with (
        given.reached(host) as access,
        _taken_slowly(access),
        urllib.request.urlopen(_ask(access, "bytes=9-100000"), timeout=30) as waits,
    ):
        assert waits.read(2 * handout._SIGN)


@pytest.mark.parametrize("source", [SHIPPED, "the Hub"], ids=["handed-out", "fetched"])
def test_where_others_have_their_turn_first_a_slow_piece_is_not_given_up(
    host: HostConnection, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    size, pace = 20_000, 20_000  # a second; many hosts have less of a home's line
    monkeypatch.setattr(handout, "_BLOCK", 1000)
    monkeypatch.setattr(writing, "SECONDS", 0.0)
    monkeypatch.setattr(download, "_FAILURES", 1)
    with Handout(file, size, pace).reached(host) as access:
        asked: FetchModel = {
            "op": "fetch-model",
            "sha256": hashlib.sha256(file.read_bytes()[:size]).hexdigest(),
            "name": file.name,
            "bytes": size,
            "url": access.url,
            "authorization": access.authorization,
            "limit": 0,
            "source": source,
        }
        slow = pytest.raises(Failure, match="less than 50 kB came in a second")
        with contextlib.nullcontext() if source == SHIPPED else slow:
            fetch.fetch(Layout(str(tmp_path / "there")), asked, lambda _: None, lambda: None)


def test_a_server_that_leads_no_ports_is_known_by_its_word(given: Handout, tmp_path: Path) -> None:
    with (
        Sandbox(tmp_path / "other", server=Server.PARAMIKO) as sandbox,
        connect(sandbox.spec) as connection,
        pytest.raises(Forbidden, match="leads no port of its own here"),
        given.reached(connection),
    ):
        pytest.fail("it is reached")
