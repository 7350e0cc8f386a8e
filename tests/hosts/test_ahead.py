import contextlib
import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.errors import HostKeyUnknown, Unreachable
from provision.hosts import Ahead, HostSpec, connect
from provision.hosts.sandbox import Sandbox
from tests.hosts.lines import silent_port


@pytest.fixture
def spec(sandbox: Sandbox) -> HostSpec:
    return sandbox.spec


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[HostSpec], Ahead]:
    """Connects ahead to a host that no declaration could name."""

    def begin(spec: HostSpec) -> Ahead:
        monkeypatch.setattr("provision.hosts.ahead.only_host", lambda *_: spec)
        ahead = Ahead(tmp_path)
        ahead.begin({}, {})
        return ahead

    return begin


def test_the_connection_is_made_before_it_is_asked_for(spec: HostSpec, begun: Callable[[HostSpec], Ahead]) -> None:
    ahead = begun(spec)
    connection = ahead.take(spec)
    assert connection is not None
    with connection:
        assert connection.run(["echo", "here"]).stdout == b"here\n"


def test_another_host_gets_nothing_of_it(spec: HostSpec, begun: Callable[[HostSpec], Ahead]) -> None:
    ahead = begun(spec)
    assert ahead.take(dataclasses.replace(spec, user="somebody")) is None


def test_it_is_given_away_once(spec: HostSpec, begun: Callable[[HostSpec], Ahead]) -> None:
    ahead = begun(spec)
    connection = ahead.take(spec)
    assert connection is not None
    connection.close()
    assert ahead.take(spec) is None


def test_a_key_that_is_pinned_meanwhile_is_believed(
    spec: HostSpec, begun: Callable[[HostSpec], Ahead], tmp_path: Path
) -> None:
    stranger = dataclasses.replace(spec, known_hosts=(tmp_path / "pins",))
    ahead = begun(stranger)
    with contextlib.suppress(HostKeyUnknown):
        ahead._made.result(10)
    shutil.copy(spec.known_hosts[0], tmp_path / "pins")
    assert ahead.take(stranger) is None  # and not what was true before
    with connect(stranger) as host:
        assert host.run(["true"]).rc == 0


def test_a_host_that_was_waited_for_is_not_waited_for_again(spec: HostSpec, begun: Callable[[HostSpec], Ahead]) -> None:
    with silent_port() as port:
        hanging = dataclasses.replace(spec, port=port, connect_timeout=0.3)
        with pytest.raises(Unreachable, match="says nothing"):
            begun(hanging).take(hanging)


def test_what_needs_patience_is_left_to_whoever_shows_it(spec: HostSpec, begun: Callable[[HostSpec], Ahead]) -> None:
    with silent_port() as port:
        nobody = port
    refused = dataclasses.replace(spec, port=nobody)
    assert begun(refused).take(refused) is None


def test_nobody_is_asked_for_a_passphrase_behind_the_scenes(
    spec: HostSpec, begun: Callable[[HostSpec], Ahead], tmp_path: Path
) -> None:
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", locked], check=True)
    spec = dataclasses.replace(spec, identity=locked)
    assert begun(spec).take(spec) is None
