"""A target whose machines are rented: from nothing to a host that is deployed to, and back to nothing."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.cli.main import main
from provision.contract.layout import BUDGET_GUARD
from provision.errors import DeployError, Refused
from provision.project import load
from provision.providers.face import Needs, Order
from provision.providers.renting import fair_share
from provision.targets import Deployment
from provision.targets.labels import Label
from provision.targets.machines import Machines
from provision.targets.ssh_keys import printed_key
from tests.deploy.world import SERVER
from tests.faults.hooks import until
from tests.providers.books import agree, of_target
from tests.providers.books import told as told_by
from tests.providers.conftest import CLOCK, KEY, Rental, offer
from tests.providers.laptop import DECLARED, boot
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost

Market = Callable[..., Rental]

pytestmark = pytest.mark.root


@pytest.fixture
def host(make_host: MakeHost) -> Iterator[TestHost]:
    yield make_host(Kind.SUPERVISORD)


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
    number = made.provider.rent(made.offering.offers()[0], Order("deploy/cres/gpu/1 x", "x", 1))
    assert made.provider.machine(number) is not None
    rental.fail(destroy=["500", "drop"])
    script = (
        made.provider.guard(-1)
        .replace("+60", "+0")
        .replace("sleep 1", "sleep 0.1")
        .replace("/var/log/deploy-guard", str(tmp_path / "log"))
        .replace(BUDGET_GUARD, str(tmp_path / "guard"))
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


def watched(host: TestHost) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.read(f"{BUDGET_GUARD}/watched.json"))
    return found


def test_an_idle_machine_stops_is_rented_no_second_time_and_renewed(
    project: Path, host: TestHost, market: Market, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rental = market(None, boot(host))
    toml = (project / "deploy.toml").read_text()
    (project / "deploy.toml").write_text(toml.replace("[targets.gpu.needs]", "machines = 2\n[targets.gpu.needs]"))
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 86400)  # the laptop's is a day ahead

    made = machines(project, rental)
    machine, _ = next(iter(made.rent()))

    label = Label.read(machine.label)
    assert label is not None
    assert label.share == 12.5  # of 25, for two
    assert 7 * 3600 < label.ends - rental.known()["now"] <= 8 * 3600
    told = watched(host)
    assert told["share"] == 12.5
    assert 6 * 3600 < told["ends"] - clock() <= 8 * 3600
    assert (host.read("/var/log/deploy-guard"), told["doing"]) == (b"", "")
    assert oct(int(host.exec(["stat", "-c", "%a", BUDGET_GUARD]).stdout, 8)) == "0o700"

    # Idle for a second: it stops itself, by its own key. What it costs is counted on when it is started again.
    (project / "deploy.toml").write_text(
        toml.replace('until = "8h"', 'until = "8h"\nidle = "1s"').replace(
            "[targets.gpu.needs]", "machines = 2\n[targets.gpu.needs]"
        )
    )
    machines(project, rental).renew(machine)
    until(lambda: rental.known()["machines"][0]["stopped"], "that it stops itself")
    assert watched(host)["why"] == "nobody has used it for 0 minutes"
    assert [each.state for each in made.rented()] == ["stopped"]
    host.reboot()
    rental.change(machine.id, inside=host.inside([]))
    (project / "deploy.toml").write_text(toml)
    ((again, is_new),) = machines(project, rental).rent()

    assert (again.id, is_new, rental.alive) == (machine.id, False, [machine.id])
    later = watched(host)
    assert later["start"] != told["start"]
    assert later["spent"] >= told["spent"]
    assert later["doing"] == ""

    # Two hours more than it was rented for, with its share of what one machine may cost.
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("VAST_URL", rental.url)
    assert main(["machine", "renew", "--for", "10h", "-C", str(project)]) == 0
    assert "or when it has cost $25.00" in capsys.readouterr().out
    renewed = watched(host)
    assert renewed["ends"] - clock() > 8.5 * 3600
    assert int(host.read(f"{BUDGET_GUARD}/ends")) == pytest.approx(renewed["ends"], abs=1)
    assert main(["machine", "renew", "--for", "100h", "-C", str(project)]) == 4
    assert "more than $25.00" in capsys.readouterr().err
    assert watched(host)["nonce"] == renewed["nonce"]
    assert machines(project, rental).past() == []
    assert main(["machine", "renew", str(machine.id), "--for", "30m", "-C", str(project)]) == 0
    capsys.readouterr()
    main(["status", "-C", str(project)])
    assert re.search(r"this rented machine ends in \d\d? minutes; next: deploy machine renew", capsys.readouterr().err)

    capsys.readouterr()
    assert main(["machine", "destroy", "--all", "--yes", "--json", "-C", str(project)]) == 0
    given = told_by(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [each.machine for each in given] == [machine.id]
    agree(rental, of_target(machines(project, rental)), given)


@pytest.mark.parametrize(
    ("declared", "refusal"),
    [
        ({"total": "2"}, r"8\.0 h of \$0\.310 are \$2\.48.*budget\.total, \$2\.00"),
        ({"total": "4", "machines": "2"}, r"more than \$2\.00, which is left of budget\.total for this machine"),
        ({"hours": '"{elsewhen} 00:00-24:00 UTC"'}, r"not wanted at this hour: budget\.hours is"),
    ],
)
def test_what_would_not_be_let_run_is_not_rented(
    declared: dict[str, str], refusal: str, project: Path, market: Market
) -> None:
    rental = market()
    day = dt.datetime.fromtimestamp(rental.known()["now"] + 3 * 86400, dt.UTC).strftime("%a")
    toml = (project / "deploy.toml").read_text().replace("total = 25\n", "")
    for key, value in {"total": "25", **declared}.items():
        table = "[targets.gpu]\n" if key == "machines" else "[targets.gpu.budget]\n"
        toml = toml.replace(table, f"{table}{key} = {value.format(elsewhen=day)}\n")
    (project / "deploy.toml").write_text(toml)

    with pytest.raises(Refused, match=refusal):
        list(machines(project, rental).rent())

    assert rental.known()["machines"] == []


def test_what_machines_have_cost_that_are_no_more_counts_and_is_said(
    project: Path, market: Market, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rental = market([offer(1, dph_total=2400.0), offer(2)])  # 25 dollars are 38 seconds of the first
    vast = rental.vast
    dear = vast.rent(vast.offers(Needs())[1], Order("deploy/cres/gpu/1 x", "x", 1))
    until(lambda: rental.known()["machines"][0]["cost"] > 23, "what it costs")
    vast.destroy(dear)

    with pytest.raises(Refused, match=r"8\.0 h of \$0\.320 are \$2\.56.*more than"):
        list(machines(project, rental).rent())
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("VAST_URL", rental.url)
    cost, calls = rental.known()["machines"][0]["cost"], len(rental.known()["calls"])
    assert main(["machine", "list", "-C", str(project)]) == 0
    assert rental.known()["calls"][calls:] == ["list", "charges"]  # that there is none is asked once
    said = f"1 machine that is no more has cost ${cost:.2f} in the last 30 days; that counts for budget.total"
    assert said in capsys.readouterr().err


def test_all_shares_and_what_is_paid_are_the_total_at_most() -> None:
    assert fair_share(25.0, 2, [], 0.0) == 12.5
    assert fair_share(25.0, 2, [12.5], 0.0) == 12.5
    assert fair_share(25.0, 3, [12.5], 0.0) == 8.33
    assert fair_share(25.0, 2, [12.5], 10.0) == 2.5
    assert fair_share(25.0, 2, [20.0], 10.0) == 0.0
    assert fair_share(1.0, 3, [0.33, 0.33], 0.0) == 0.33


def test_a_machine_of_an_earlier_version_is_known_and_not_renewed(
    project: Path, host: TestHost, market: Market
) -> None:
    rental, events = market(None, boot(host)), []  # type: ignore[var-annotated]
    made = machines(project, rental, events)
    old = Label("deploy/cres/gpu/1", 16 * "a", rental.known()["now"] + 8 * 3600)
    assert str(old).count(" ") == 2
    order = Order(str(old), "x", 1, ports=(8000,), start=f"echo deploy-{old.nonce} {host.host_key}")
    made.provider.rent(made.offering.offers()[0], order)

    ((machine, is_new),) = made.rent()

    assert not is_new
    assert "its guard knows when it ends, and nothing else" in next(
        each["text"] for each in events if each["event"] == "warning"
    )
    with pytest.raises(Refused, match="no guard that could be told"):
        made.renew(machine)


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
