import contextlib
import dataclasses
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from provision.errors import HostKeyUnknown, Unreachable
from provision.hosts import Ahead, HostSpec, connect
from provision.hosts.sandbox import Sandbox
from tests.hosts.lines import silent_port


@pytest.fixture
def spec(sandbox: Sandbox) -> HostSpec:
    return sandbox.spec


def test_the_connection_is_made_before_it_is_asked_for(spec: HostSpec) -> None:
    ahead = Ahead(spec)
    connection = ahead.take(spec)
    assert connection is not None
    with connection:
        assert connection.run(["echo", "here"]).stdout == b"here\n"


def test_what_was_started_ahead_is_what_runs_the_command_once(spec: HostSpec, tmp_path: Path) -> None:
    command = ["sh", "-c", f"echo begun >> {tmp_path}/log; read line; echo got $line"]
    connection = Ahead(spec, start=command).take(spec)
    assert connection is not None
    with connection:
        while not (tmp_path / "log").exists():  # begun before anybody talks to it
            time.sleep(0.01)
        for word in (b"first", b"second"):
            with connection.session(command) as channel:
                channel.send_line(word)
                assert channel.read_line(10) == b"got " + word
    assert (tmp_path / "log").read_text() == "begun\nbegun\n"


def test_another_host_gets_nothing_of_it(spec: HostSpec) -> None:
    ahead = Ahead(spec)
    assert ahead.take(dataclasses.replace(spec, user="somebody")) is None


def test_it_is_given_away_once(spec: HostSpec) -> None:
    ahead = Ahead(spec)
    connection = ahead.take(spec)
    assert connection is not None
    connection.close()
    assert ahead.take(spec) is None


def test_a_key_that_is_pinned_meanwhile_is_believed(spec: HostSpec, tmp_path: Path) -> None:
    stranger = dataclasses.replace(spec, known_hosts=(tmp_path / "pins",))
    ahead = Ahead(stranger)
    with contextlib.suppress(HostKeyUnknown):
        ahead._made.result(10)
    shutil.copy(spec.known_hosts[0], tmp_path / "pins")
    assert ahead.take(stranger) is None  # and not what was true before
    with connect(stranger) as host:
        assert host.run(["true"]).rc == 0


def test_a_host_that_was_waited_for_is_not_waited_for_again(spec: HostSpec) -> None:
    with silent_port() as port:
        hanging = dataclasses.replace(spec, port=port, connect_timeout=0.3)
        with pytest.raises(Unreachable, match="says nothing"):
            Ahead(hanging).take(hanging)


def test_what_needs_patience_is_left_to_whoever_shows_it(spec: HostSpec) -> None:
    with silent_port() as port:
        nobody = port
    refused = dataclasses.replace(spec, port=nobody)
    assert Ahead(refused).take(refused) is None


def test_nobody_is_asked_for_a_passphrase_behind_the_scenes(spec: HostSpec, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", locked], check=True)
    spec = dataclasses.replace(spec, identity=locked)
    assert Ahead(spec).take(spec) is None
