"""Several hosts of one run: this machine's line carries a model once, the source sends it once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision.agent.pieces import piece_of
from provision.native.model import write_demo_model
from tests.faults.hooks import is_agent, until
from tests.testbed import Kind, Slot, TestHost
from tests.testbed.fixtures import MakeHost

pytestmark = pytest.mark.root

_MEGABYTES = 40


class Fleet:
    """Some hosts, and a project whose model lies here."""

    def __init__(self, root: Path, slot: Slot, hosts: list[TestHost]) -> None:
        self.root, self.slot, self.hosts = root, slot, hosts
        model = root / "m.gguf"
        write_demo_model(model)
        with model.open("ab") as file:
            file.write(os.urandom(_MEGABYTES << 20))
        self.content = model.read_bytes()
        (root / "id").write_bytes(slot.identity.read_bytes())
        (root / "id").chmod(0o600)
        (root / "known_hosts").write_text("".join(f"{host.address} {host.host_key}\n" for host in hosts))
        self.declare()

    def declare(self, extra: str = "") -> None:
        names = ", ".join(f'"root@{host.address}"' for host in self.hosts)
        (self.root / "deploy.toml").write_text(
            f"""\
[project]
name = "fleet"
[services.llm]
command = ["sleep", "1000"]
model = "./m.gguf"
[targets.here]
platform = "supervisord"
hosts = [{names}]
identity = "id"
path = "/workspace/fleet"
{extra}
"""
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        state = self.root.parent
        return subprocess.Popen(
            [sys.executable, "-m", "provision.cli", *words],
            cwd=self.root,
            env={**os.environ, "XDG_STATE_HOME": str(state / "state"), "XDG_CACHE_HOME": str(state / "cache")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        with self.start(*words) as process:
            said, _ = process.communicate(timeout=240)
        assert process.returncode == code, said
        return said

    @property
    def sent(self) -> int:
        """Bytes that this machine has sent to hosts."""
        return int(Path("/sys/class/net", self.slot.bridge, "statistics/tx_bytes").read_text())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def pieces(self, host: TestHost) -> set[int]:
        """Those that have arrived there, of a model that is on its way."""
        record = f"/workspace/fleet/shared/models/.incoming-{self.sha256}/.pieces"
        _, *lines = host.exec(["cat", record], check=False).stdout.splitlines() or [""]
        return {int(line.split()[0]) for line in lines}

    def has(self, host: TestHost) -> bool:
        return host.read(f"/workspace/fleet/shared/models/sha256-{self.sha256}/m.gguf") == self.content


@pytest.fixture
def fleet(tmp_path: Path, slot: Slot, make_host: MakeHost) -> Fleet:
    root = tmp_path / "project"
    root.mkdir()
    return Fleet(root, slot, [make_host(Kind.SUPERVISORD) for _ in range(3)])


@contextlib.contextmanager
def _line(device: str, rate: str) -> Iterator[None]:
    """While what leaves by a device is no faster than that."""
    shape = ["tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", rate, "burst", "128kb", "latency", "100ms"]
    subprocess.run(shape, check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", device, "root"], check=True)


def _agents(host: TestHost) -> list[int]:
    return [process.pid for process in host.processes() if is_agent(process)]


def test_this_machine_sends_a_model_once_and_hosts_have_it_from_one_another(fleet: Fleet) -> None:
    assert "of m.gguf about one copy comes for all 3 hosts" in fleet.run("plan")
    before = fleet.sent
    said = fleet.run("model", "fetch")

    assert all(map(fleet.has, fleet.hosts))
    assert "shipping the model: " not in said, f"each a share from here, and the rest from others: {said}"
    assert fleet.sent - before < 1.5 * len(fleet.content)
    assert not any(map(_agents, fleet.hosts)), "nobody goes on lending"


@pytest.mark.slow
def test_a_host_of_a_later_batch_has_it_from_one_that_is_done(fleet: Fleet) -> None:
    fleet.declare("rollout = { canary = 1, batch = 1 }")
    before = fleet.sent
    fleet.run("up")

    assert all(map(fleet.has, fleet.hosts))
    assert fleet.sent - before < 1.5 * len(fleet.content)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["they do not reach one another", "they are told not to"])
def test_hosts_that_lend_nothing_are_sent_it_each(fleet: Fleet, how: str) -> None:
    if how == "they are told not to":
        fleet.declare("lend = false")
    else:
        for host in fleet.hosts:
            for other in fleet.hosts:
                if other is not host:
                    host.exec(["ip", "route", "add", "blackhole", other.address])
    before = fleet.sent
    said = fleet.run("model", "fetch")

    assert all(map(fleet.has, fleet.hosts))
    assert fleet.sent - before > 2.9 * len(fleet.content)
    assert ("can't be reached from there; so nobody lent it any of m.gguf." in said) == (
        how == "they do not reach one another"
    )


@pytest.mark.slow
def test_hosts_whose_ssh_server_leads_no_port_here_have_it_from_one_that_is_sent_it(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.write("/etc/ssh/sshd_config.d/no-ports.conf", "AllowTcpForwarding no\n")
        host.exec(["pkill", "-HUP", "-o", "-x", "sshd"])
    before = fleet.sent
    said = fleet.run("model", "fetch")

    assert all(map(fleet.has, fleet.hosts))
    assert fleet.sent - before < 1.5 * len(fleet.content)
    assert "shipping the model: " in said
    assert "It comes from" not in said


@pytest.mark.slow
def test_a_host_that_dies_while_its_share_comes_costs_the_others_its_share_alone(fleet: Fleet) -> None:
    *others, dies = fleet.hosts
    before = fleet.sent
    with ThreadPoolExecutor() as pool, _line(fleet.slot.bridge, "60mbit"):
        ran = pool.submit(fleet.run, "model", "fetch", code=3)
        until(lambda: bool(fleet.pieces(dies)), "a piece is there")
        dies.exec(["kill", "-9", *map(str, _agents(dies))])
        ran.result()

    assert all(map(fleet.has, others))
    assert fleet.sent - before < 1.7 * len(fleet.content)
    fleet.run("model", "fetch")
    assert fleet.has(dies)


@pytest.mark.slow
def test_what_had_come_when_this_machine_s_command_was_killed_is_sent_no_second_time(fleet: Fleet) -> None:
    def there() -> set[int]:
        return set().union(*map(fleet.pieces, fleet.hosts))

    with _line(fleet.slot.bridge, "60mbit"):
        with fleet.start("model", "fetch") as killed:
            until(lambda: len(there()) >= 6, "six pieces of eleven are there")
            killed.kill()
        until(lambda: not any(map(_agents, fleet.hosts)), "nobody goes on lending")
        before, left = fleet.sent, len(fleet.content) - len(there()) * piece_of(len(fleet.content))
        fleet.run("model", "fetch")

    assert all(map(fleet.has, fleet.hosts))
    assert fleet.sent - before < left + (4 << 20), "what is sent beside it is less than a piece"
