"""One front for many machines: real hosts, real HAProxy on each, and users who never stop."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import Refused
from tests.deploy.fleet import PATH, PORT, Fleet
from tests.deploy.visitors import visitors
from tests.faults.hooks import until
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def fleet(make_host: MakeHost, tmp_path: Path) -> Iterator[Fleet]:
    edge, *machines = [make_host(Kind.SUPERVISORD) for _ in range(3)]
    yield Fleet(tmp_path / "project", edge, machines)


def test_a_deploy_over_all_machines_costs_nobody_a_request(fleet: Fleet) -> None:
    fleet.declare("1")
    fleet.up("edge")
    fleet.up()
    assert set(fleet.peers().values()) == {True}
    assert len(fleet.peers()) == 2
    with visitors(fleet) as met:
        fleet.declare("2")
        fleet.up()
    assert met["versions"][-1] == "2"
    assert all(each.plan.unchanged for each in fleet.up())
    with rollout.watched_traffic(fleet.deployment("edge")) as watch:
        (told,) = watch.look()
    assert isinstance(told, rollout.HostTraffic)
    lane = told.answer["services"]["web"]["lanes"]["stable"]
    assert [each["program"] for each in lane["programs"]] == ["gpu.1", "gpu.2"]
    assert lane["seen"]["errors"] == 0
    assert lane["seen"]["requests"] > 0
    refused = fleet.host.exec(["curl", "-sk", "-m", "5", f"https://{fleet.machines[0].address}:{PORT}/"], check=False)
    assert refused.returncode != 0
    assert rollout.status(fleet.deployment())[0].state == "serving"


def test_who_can_not_be_told_is_asked_first_and_looks_say_who_is_behind(fleet: Fleet) -> None:
    fleet.declare("1")
    with pytest.raises(Refused) as refused:  # the front itself was never deployed
        fleet.up()
    assert refused.value.next_step == "deploy up --target edge, then this again"
    assert all(each.plan.current == "" for each in rollout.plan(fleet.deployment()))

    fleet.up("edge")
    assert {each.front for each in rollout.plan(fleet.deployment())} == {
        f"the front of targets.edge ({fleet.host.address}) does not know it yet; deploy up tells it"
    }
    fleet.up()
    edge = f"the front of targets.edge ({fleet.host.address}) gives it requests"
    assert {each.front for each in rollout.status(fleet.deployment())} == {edge}

    fleet.host.stop()
    fleet.declare("2")
    with pytest.raises(Refused, match="can't be reached; nothing was begun"):
        fleet.up()
    assert {each.state for each in rollout.status(fleet.deployment())} == {"serving"}
    assert "is not known" in rollout.status(fleet.deployment())[0].front


def test_a_machine_that_is_killed_whole_costs_nobody_an_error_and_without_any_requests_wait(fleet: Fleet) -> None:
    fleet.declare("1", hold="8s", front={"repeat": "any"})
    fleet.up("edge")
    fleet.up()
    first, second = fleet.machines

    with visitors(fleet, streams=0) as met:
        fleet.kill(first, "supervisord", "haproxy", "python3")
    assert met["requests"] > 0

    with visitors(fleet, streams=0):  # who is at home with the front is nobody's way
        (status,) = rollout.status(fleet.deployment("edge"))
        fleet.host.kill(status.project["view"]["programs"]["keeper"]["pid"])
    fleet.kill(fleet.host, "haproxy")  # whoever is there is cut off; then it leads where it did
    until(lambda: _answers(fleet) == "200", "the front is there again")
    assert fleet.peers() == {first.address: True, second.address: True}
    fleet.kill(second, "supervisord", "haproxy", "python3")
    began = time.monotonic()
    assert _answers(fleet) == "503"
    assert 5 < time.monotonic() - began < 20  # it was held first
    asked = fleet.host.exec(["curl", "-si", "-m", "30", f"http://127.0.0.1:{PORT}/"], check=False).stdout
    assert "Retry-After" in asked or "retry-after" in asked


def test_one_that_shows_another_certificate_is_no_machine_of_ours(fleet: Fleet) -> None:
    fleet.declare("1", hold="3s")
    fleet.up("edge")
    fleet.up(hosts=[rollout_host(fleet, 0)])
    assert _answers(fleet) == "200"
    machine = fleet.machines[0]
    shown = f"{PATH}/.deploy/peers/gpu.fleet.internal.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj / "
    words += "-addext subjectAltName=DNS:gpu.fleet.internal -keyout /tmp/k 2>/dev/null > /tmp/c; "
    words += f"cat /tmp/c /tmp/k > {shown}"
    machine.exec(["sh", "-c", words])
    fleet.kill(machine, "haproxy")
    until(lambda: machine.exec(["pgrep", "-x", "haproxy"], check=False).returncode == 0, "it is started again")

    assert _answers(fleet) == "503"

    fleet.up(hosts=[rollout_host(fleet, 0)])  # whoever deploys has read the new one over a connection that is pinned
    assert _answers(fleet) == "200"


def test_who_goes_is_told_of_and_nobody_else_is_let_in(fleet: Fleet) -> None:
    fleet.declare("1")
    fleet.up("edge")
    fleet.up()
    first, second = fleet.machines
    for words in (["-k"], ["-k", "--cert", "/tmp/c", "--key", "/tmp/k"]):
        made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj / "
        second.exec(["sh", "-c", f"{made} -keyout /tmp/k 2>/dev/null > /tmp/c"])
        asked = second.exec(["curl", "-s", "-m", "5", *words, f"https://{first.address}:{PORT}/"], check=False)
        assert asked.returncode != 0, asked.stdout
    with visitors(fleet) as met:
        rollout.down(fleet.deployment(), hosts=[rollout_host(fleet, 0)])
    assert set(fleet.peers()) == {second.address}
    assert met["requests"]
    told = json.loads(
        fleet.host.exec(["curl", "-s", "-H", "X-Forwarded-For: 6.6.6.6", "-m", "9", f"http://127.0.0.1:{PORT}/"]).stdout
    )
    assert told["headers"]["x-forwarded-for"] == "127.0.0.1"


def rollout_host(fleet: Fleet, number: int) -> str:
    """A machine, as who deploys calls it."""
    return fleet.deployment().hosts[number].name


def _answers(fleet: Fleet) -> str:
    asked = ["curl", "-s", "-m", "60", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{PORT}/"]
    return fleet.host.exec(asked, check=False).stdout
