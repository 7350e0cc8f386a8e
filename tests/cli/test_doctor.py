"""`deploy doctor`, on real hosts: what is well, what is not, and the command that mends it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provision.rollout.doctor import _clock
from tests.deploy.world import World, web
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root


@contextmanager
def free_port() -> Iterator[int]:
    """A port that is taken, and at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


def findings(world: World, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and what was said of the host by subject; of this machine nothing."""
    with world.cli("doctor", "--json", *words) as process:
        output, _ = process.communicate(timeout=120)
    events = [json.loads(line) for line in output.splitlines()]
    assert events[-1]["event"] == "result"
    return process.returncode, {
        each["subject"]: each for each in events if each["event"] == "finding" and each["target"]
    }


def test_a_host_that_lacks_nothing_is_well(systemd_host: TestHost, place: Place, tmp_path: Path) -> None:
    world = World(tmp_path, systemd_host, "systemd", place.path, place.port(), place.name)
    world.web("1")
    status, found = findings(world)
    assert {each["word"] for each in found.values()} == {"ok"}, found
    assert found.keys() == {"connection", "clock", "python", "supervisor", "room", "deploy"}
    assert status == 0
    assert found["deploy"]["text"] == "up would go ahead"
    assert world.stable == ""  # it only looked


def test_each_thing_that_is_wrong_comes_with_what_mends_it(make_host: MakeHost, place: Place, tmp_path: Path) -> None:
    host = make_host(Kind.BARE)
    world = World(tmp_path, host, "supervisord", place.path, place.port(), place.name)
    world.declare({"web": web(world.port, secrets=["TOKEN"])})
    host.exec(["mv", "/usr/bin/rsync", "/usr/bin/rsync.away"])
    host.write("/usr/local/bin/date", "#!/bin/sh\nexec /bin/date -d '1 hour ago' \"$@\"\n", mode=0o755)
    taken = (
        "import socket, time; s = socket.create_server(('127.0.0.1', %d)); print('held', flush=True); time.sleep(99)"
    )
    with world.held(f'exec python3 -c "{taken % world.port}"', ""):
        status, found = findings(world)
    assert status == 1
    assert found["secret"]["next"] == "deploy secrets set TOKEN"
    assert (found["rsync"]["word"], found["rsync"]["next"]) == ("problem", f"deploy host bootstrap {host.address}")
    assert (found["clock"]["word"], found["clock"]["text"][:14]) == ("warning", "its clock is 3")
    assert found["supervisor"]["text"] == "supervisord, which a deploy starts"
    assert f"port {world.port}" in found["deploy"]["text"]


def test_a_key_that_nobody_pinned_or_a_host_that_is_gone_is_named_with_the_next_command(
    supervisord_host: TestHost, place: Place, tmp_path: Path
) -> None:
    world = World(tmp_path, supervisord_host, "supervisord", place.path, place.port(), place.name)
    world.web("1")
    (world.folder / "known_hosts").write_text("")
    status, found = findings(world)
    assert (status, found.keys()) == (1, {"key"})
    assert found["key"]["next"] == f"deploy host trust {supervisord_host.address}"
    with free_port() as port:
        world.target = {"hosts": [f"root@127.0.0.1:{port}"]}
        world.web("1")
        status, found = findings(world)
    assert (status, found["connection"]["word"]) == (1, "problem")
    assert "refuses connections" in found["connection"]["text"]


def test_this_machine_without_rsync_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from provision.cli.doctoring import this_machine

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    found = {each.subject: each for each in this_machine(sandbox=False)}
    assert (found["rsync"].word, found["rsync"].next_step) == ("problem", "install rsync where PATH finds it")
    assert (found["keys"].word, found["keys"].next_step) == ("warning", "ssh-keygen -t ed25519")


@pytest.mark.parametrize("said", ["²", "1" * 5000, "", "-1", "soon"])
def test_a_clock_that_tells_no_time_is_a_finding(said: str) -> None:
    class Connection:
        def run(self, *_: object, **__: object) -> SimpleNamespace:
            return SimpleNamespace(stdout=f"{said}\n".encode())

    assert _clock(Connection()).text == "its clock could not be read"  # type: ignore[arg-type]
