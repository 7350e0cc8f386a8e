"""A target whose machines are rented: from nothing to a host that is deployed to, and back to nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.cli.main import main
from provision.errors import DeployError, Refused
from provision.project import load
from provision.providers.face import Order
from provision.targets import Deployment
from provision.targets.machines import Label, Machines, printed_key
from tests.deploy.world import SERVER
from tests.providers.conftest import CLOCK, KEY, Rental
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost

Market = Callable[..., Rental]

pytestmark = pytest.mark.root

DECLARED = """
[project]
name = "cres"

[services.web]
command = ["python3", "server.py", "${{port}}"]
port = 8000
env = {{ VERSION = "1" }}
check = {{ http = "/health", interval = "50ms" }}

[targets.gpu]
provider = "vast"
path = "/workspace/cres"
identity = "{identity}"
[targets.gpu.needs]
gpu = ["RTX 4090"]
image = "app@sha256:{digest}"
ports = [8000]
[targets.gpu.budget]
per_hour = 0.60
total = 25
until = "8h"
"""


@pytest.fixture
def host(make_host: MakeHost) -> Iterator[TestHost]:
    yield make_host(Kind.SUPERVISORD)


def boot(host: TestHost, **more: Any) -> dict[str, Any]:
    """How a machine behaves that is this host."""
    return {"start": 10, "address": host.address, "port": 22, "inside": host.inside([]), **more}


@pytest.fixture
def project(tmp_path: Path, host: TestHost) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(SERVER, folder)
    (folder / "deploy.toml").write_text(DECLARED.format(identity=host.identity, digest="0" * 64))
    return folder


def machines(folder: Path, rental: Rental, events: list[dict[str, Any]] | None = None) -> Machines:
    loaded = load(folder, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="gpu")
    return Machines(loaded, "gpu", (events if events is not None else []).append, CLOCK)


def test_a_rented_machine_is_pinned_by_what_it_printed_and_deployed_to(
    project: Path, host: TestHost, market: Market
) -> None:
    rental = market(None, boot(host))

    ((machine, is_new),) = machines(project, rental).rent()

    assert is_new
    assert (project / "known_hosts").read_text() == f"{host.address} {host.host_key}\n"
    loaded = load(project, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="gpu")
    (outcome,) = rollout.up(Deployment(loaded, "gpu"))
    assert outcome.outcome == "committed"
    asked = host.exec(["curl", "-fsS", "http://127.0.0.1:8000/"]).stdout
    assert json.loads(asked)["version"] == "1"
    # Neither the account's key nor anything that holds it has reached the machine.
    assert KEY not in json.dumps(rental.known()["orders"])
    assert rental.known()["leaked"] == []

    calls = len(rental.known()["calls"])
    ((again, is_new),) = machines(project, rental).rent()
    assert (again.id, is_new) == (machine.id, False)
    assert rental.known()["calls"][calls:] == ["list"]


def test_another_key_than_the_printed_one_stops_the_deploy(project: Path, host: TestHost, market: Market) -> None:
    rental = market(None, boot(host))
    list(machines(project, rental).rent())
    host.exec(["sh", "-c", "rm /etc/ssh/ssh_host_*; ssh-keygen -A"])
    host.reboot()

    loaded = load(project, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="gpu")
    with pytest.raises(DeployError, match="key"):
        rollout.up(Deployment(loaded, "gpu"))


@pytest.mark.parametrize("how", ["empty", "another's mark"])
def test_a_machine_whose_log_does_not_say_its_key_is_given_back(
    how: str, project: Path, host: TestHost, market: Market
) -> None:
    told = boot(host, log="empty") if how == "empty" else {"printed": f"deploy-{16 * 'a'} {host.host_key}\n"}
    rental = market(None, told)

    with pytest.raises(DeployError, match="its log does not say which host key is its own"):
        list(machines(project, rental).rent())

    assert rental.alive == []
    assert not (project / "known_hosts").exists()


def test_what_was_rented_before_a_ctrl_c_is_given_back(project: Path, host: TestHost, market: Market) -> None:
    rental, events = market(None, boot(host, start=600)), []

    def interrupt(event: dict[str, Any]) -> None:
        events.append(event)
        if "pulling" in str(event.get("text")):
            raise KeyboardInterrupt

    loaded = load(project, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="gpu")
    with pytest.raises(KeyboardInterrupt):
        list(Machines(loaded, "gpu", interrupt, CLOCK).rent())

    assert rental.alive == []
    assert events[-1]["text"] == "machine 7000 was given back"


def test_the_key_that_was_printed_last_counts_and_nobody_else_s() -> None:
    first, second, another = ("A" * 40, "B" * 40, "C" * 40)
    log = f"deploy-aa ssh-rsa {first}\ndeploy-aa ssh-ed25519 {first}\r\nx deploy-aa ssh-ed25519 {another}\n"
    log += f"deploy-bb ssh-ed25519 {another}\ndeploy-aa ssh-ed25519 {second}\ndeploy-aa ssh-ed25519 {another} x\n"

    key = printed_key(log, "aa")

    assert key is not None
    assert key.line == f"ssh-ed25519 {second}"
    assert printed_key(log, "cc") is None


def test_before_anything_is_rented_a_deploy_says_how(project: Path, market: Market) -> None:
    rental = market()
    loaded = load(project, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="gpu")

    with pytest.raises(Refused, match=r"no machine of targets\.gpu runs") as refused:
        rollout.up(Deployment(loaded, "gpu"))

    assert refused.value.next_step == "deploy machine rent --target gpu"


def test_what_was_rented_when_there_were_more_machines_is_known_and_given_back(
    project: Path, host: TestHost, market: Market, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rental = market(None, boot(host))
    ((machine, _),) = machines(project, rental).rent()
    made = machines(project, rental)
    made.provider.rename(machine.id, machine.label.replace("/gpu/1 ", "/gpu/12 "))
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("VAST_URL", rental.url)

    assert made.rented() == []
    assert [each.id for each in made.rented_beyond()] == [machine.id]
    assert main(["machine", "list", "-C", str(project)]) == 0
    assert f"next: deploy machine destroy {machine.id}" in capsys.readouterr().err
    assert main(["machine", "destroy", "--all", "--yes", "-C", str(project)]) == 0
    assert rental.alive == []


def test_what_is_past_its_end_is_found_whoever_rented_it(project: Path, host: TestHost, market: Market) -> None:
    rental = market(None, boot(host))
    made = machines(project, rental)
    ((machine, _),) = made.rent()
    label = Label.read(machine.label)
    assert label is not None

    assert made.past(time.time()) == []
    assert [each.id for each in made.past(label.ends)] == [machine.id]
    made.provider.rename(machine.id, "deploy/other/gpu/1 is a person's own words")
    assert made.past(label.ends + 1e6) == []


def test_the_guard_ends_its_own_machine_with_its_own_key_and_tries_on(
    project: Path, market: Market, tmp_path: Path
) -> None:
    rental = market(None, {"start": 1})
    made = machines(project, rental)
    number = made.provider.rent(made.offers()[0], Order("deploy/cres/gpu/1 x", "x", 1))
    assert made.provider.machine(number) is not None
    rental.fail(destroy=["500", "drop"])
    script = (
        made.provider.guard(time.time() - 1)
        .replace("sleep 60", "sleep 0.2")
        .replace("/var/log/deploy-guard", str(tmp_path / "log"))
    )
    environ = {"PATH": os.environ["PATH"], "CONTAINER_API_KEY": f"instance-{number}", "CONTAINER_ID": str(number)}

    running = subprocess.Popen(["sh", "-c", f"{script}wait"], env=environ, start_new_session=True)
    try:
        while rental.alive:
            words = Path(f"/proc/{running.pid}/cmdline").read_text()
            assert f"instance-{number}" not in words
            time.sleep(0.05)
    finally:
        os.killpg(running.pid, 9)
        running.wait()

    assert rental.known()["calls"].count("destroy") == 3


@pytest.mark.slow
def test_the_verbs_tell_the_whole_story(
    project: Path, host: TestHost, market: Market, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rental = market(None, boot(host))
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("VAST_URL", rental.url)
    told: dict[str, str] = {}
    for verb, words in {
        "offers": ["machine", "offers"],
        "up": ["up"],
        "rent": ["machine", "rent"],
        "list": ["machine", "list"],
        "show": ["machine", "show", "7000"],
        "logs": ["machine", "logs", "7000"],
        "destroy": ["machine", "destroy", "--all", "--yes"],
        "after": ["machine", "list"],
    }.items():
        assert main([*words, "-C", str(project)]) == 0, capsys.readouterr().err
        told[verb] = capsys.readouterr().out

    assert "1 x RTX 4090" in told["offers"]
    assert f"port 8000 is reached at {host.address}:8000" in told["rent"]
    assert "deploy/cres/gpu/1" in told["list"]
    assert "running (success, running)" in told["show"]
    assert host.host_key.split()[1] in told["logs"]
    assert "7000 is given back; it has cost $" in told["destroy"]
    assert told["after"] == "nothing is rented; next: deploy machine rent\n"
    assert rental.alive == []
