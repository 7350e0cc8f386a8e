"""Restart, start and stop, by name and for all: on the real supervisors, with what the next deploy makes of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision import rollout
from provision.cli.render.plan import plan_lines
from provision.cli.render.status import entry_lines, status_lines
from provision.contract.steps import Do
from provision.errors import Degraded, DeployError, PutBack, Refused, SomeHostsFailed, UsageError
from provision.targets import HostOutcome
from tests.deploy.world import World, web
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root

WORKER = {"command": ["sleep", "1000"]}


def do(world: World, kind: str, *services: str, channel: str = "stable") -> HostOutcome:
    return rollout.on_purpose(world.deployment(), kind, services, channel)[0]


def two(world: World, version: str = "1", **more: object) -> None:
    world.declare({"web": web(world.port, version, **more), "worker": WORKER})


def shown(world: World, service: str) -> str:
    """Its line of `deploy status`."""
    return next(line for line in status_lines(world.status()) if world.program(service) in line)


def test_what_is_restarted_is_proven_again_and_nothing_else_is_touched(world: World) -> None:
    two(world)
    world.up()
    served, worked, generation = world.pid("web"), world.pid("worker"), world.state()["generation"]

    assert do(world, "restart", "web").outcome == "committed"

    assert [check.rpartition(" ")[2] for check in world.checks()] == ["/health"]
    assert world.pid("web") != served
    assert world.pid("worker") == worked
    assert world.state()["generation"] == generation + 1
    entry = world.status().project["history"][-1]
    assert f"restart web  committed  stable {world.stable[:12]}" in entry_lines(entry)[0]


def test_what_is_stopped_is_said_as_such_and_stays_so_until_it_is_started(world: World) -> None:
    two(world)
    world.up()

    do(world, "stop", "worker")

    assert "on purpose; deploy start worker" in shown(world, "worker")
    assert world.status().state == "serving"
    assert do(world, "stop", "worker").outcome == "unchanged"
    world.host.exec(["supervisorctl", "update"] if world.platform == "supervisord" else ["systemctl", "daemon-reload"])
    assert "on purpose" in shown(world, "worker")

    do(world, "start")

    assert world.pid("worker") > 1
    assert "on purpose" not in shown(world, "worker")
    assert do(world, "start").outcome == "unchanged"


@pytest.mark.slow
def test_an_unchanged_project_that_is_deployed_again_runs_as_declared_and_the_plan_says_so(world: World) -> None:
    world.web()
    world.up()
    do(world, "stop")
    assert world.status().state == "stopped"
    assert not world.answers()

    (planned,) = rollout.plan(world.deployment())
    assert "it was stopped on purpose" in "\n".join(plan_lines("here", planned.plan))
    assert world.up().outcome == "committed"

    assert world.version == "1"
    assert world.up().outcome == "unchanged"


@pytest.mark.slow
def test_a_canary_that_is_deployed_starts_nothing_that_was_stopped_in_stable(world: World) -> None:
    two(world)
    world.up()
    do(world, "stop", "worker")

    two(world, "2")
    world.up("canary")

    assert "on purpose" in shown(world, "worker")
    assert world.pid("worker", "canary") > 1
    do(world, "stop", channel="canary")
    assert world.status().project["view"]["programs"][world.program("web", "canary")]["activity"] != "running"
    world.promote()
    assert world.pid("worker") > 1


def test_a_restart_that_fails_once_has_what_ran_before_again(world: World) -> None:
    once = f"{world.path}/shared/data/once"
    command = ["sh", "-c", f"test ! -e {once} || {{ rm {once}; exit 3; }}; exec python3 server.py {world.port}"]
    two(world, command=command)
    world.up()
    worked = world.pid("worker")
    world.host.exec(["sh", "-c", f"mkdir -p {world.path}/shared/data && touch {once}"])

    with pytest.raises(PutBack, match="serves"):
        do(world, "restart", "web")

    assert world.version == "1"
    assert world.pid("worker") == worked


@pytest.mark.slow
def test_a_restart_that_never_comes_up_is_degraded_and_the_next_one_mends_it(world: World) -> None:
    broken = f"{world.path}-broken"
    command = ["sh", "-c", f"test ! -e {broken} || exit 3; exec python3 server.py {world.port}"]
    world.web(command=command)
    world.up()
    world.host.exec(["touch", broken])

    with pytest.raises(Degraded):
        do(world, "restart")
    assert world.status().state == "degraded"
    with pytest.raises(Refused, match="this host is degraded"):
        do(world, "stop")
    world.host.exec(["rm", broken])

    assert do(world, "restart").outcome == "committed"
    assert world.version == "1"
    assert world.status().state == "serving"


@pytest.mark.slow
def test_what_was_stopped_and_does_not_start_is_stopped_as_before(world: World) -> None:
    broken = f"{world.path}-broken"
    command = ["sh", "-c", f"test ! -e {broken} || exit 3; exec python3 server.py {world.port}"]
    world.web(command=command)
    world.up()
    do(world, "stop")
    world.host.exec(["touch", broken])

    with pytest.raises(PutBack):
        do(world, "start", "web")

    assert world.status().state == "stopped"
    world.host.exec(["rm", broken])
    assert world.up().outcome == "committed"


@pytest.mark.slow
def test_copies_are_restarted_together_or_one_by_one(world: World) -> None:
    world.declare({"web": web(world.port, replicas=2)})
    world.up()
    first, second = world.pid("web"), world.pid("web", "2")

    do(world, "restart", "web.2")
    assert world.pid("web") == first
    assert world.pid("web", "2") != second

    do(world, "restart", "web")
    assert world.pid("web") != first


@pytest.mark.slow
def test_one_on_demand_runs_when_it_is_named_and_only_then(world: World) -> None:
    world.declare({"web": web(world.port), "job": web(world.port + 1, on_demand=True)})
    world.up()

    assert do(world, "start").outcome == "unchanged"
    do(world, "start", "job")
    assert world.answers(world.port + 1)
    do(world, "stop", "job")
    assert not world.answers(world.port + 1)
    assert "on demand" in shown(world, "job")


def test_what_is_not_there_is_refused_by_name(world: World) -> None:
    world.web()
    with pytest.raises(Refused, match="nothing is deployed here"):
        do(world, "restart")
    world.up()
    with pytest.raises(UsageError, match=r"no service 'wbe' there(.|\n)*It has: web"):
        do(world, "restart", "wbe")
    with pytest.raises(Refused, match="there is no canary here"):
        do(world, "stop", channel="canary")


@pytest.mark.slow
def test_of_several_hosts_each_restarts_and_who_cannot_is_named(
    supervisord_host: TestHost, make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    other = make_host(Kind.SUPERVISORD)
    world = World(tmp_path / "project", supervisord_host, "supervisord", place.path, place.port(), place.name)
    world.target = {
        "name_prefix": f"{place.name}-",
        "hosts": [f"root@{host.address}" for host in (supervisord_host, other)],
    }
    with (world.folder / "known_hosts").open("a") as pins:
        pins.write(f"{other.address} {other.host_key}\n")
    two(world)
    rollout.up(world.deployment())

    done = rollout.on_purpose(world.deployment(), "stop", ["worker"])
    assert [(each.outcome, [step.do for step in each.plan.steps]) for each in done] == [
        ("committed", [Do.KEEP, Do.STOP])
    ] * 2

    rollout.down(world.deployment(), hosts=[other.address])
    with pytest.raises(SomeHostsFailed, match=f"{other.address}: nothing is deployed here(.|\n)*is done"):
        rollout.on_purpose(world.deployment(), "start")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.SUPERVISORD, Kind.SYSTEMD])
def test_what_is_stopped_stays_so_over_a_reboot(make_host: MakeHost, kind: Kind, place: Place, tmp_path: Path) -> None:
    host = make_host(kind)
    world = World(tmp_path / "project", host, kind.value, place.path, place.port(), place.name)
    two(world)
    world.up()
    do(world, "stop", "worker")

    host.reboot()
    world.host.exec(["sh", "-c", f"until curl -fsS http://127.0.0.1:{world.port}/health; do sleep 0.1; done"])

    assert world.status().state == "serving"
    assert "on purpose" in shown(world, "worker")
    do(world, "start")
    host.reboot()
    world.host.exec(["sh", "-c", f"until curl -fsS http://127.0.0.1:{world.port}/health; do sleep 0.1; done"])
    assert world.pid("worker") > 1


@pytest.mark.slow
def test_a_stop_whose_worker_is_killed_is_undone(world: World) -> None:
    lingers = {"command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], "stop_timeout": "20s"}
    world.declare({"web": web(world.port), "worker": lingers})
    world.up()
    deployment = world.deployment()

    with ThreadPoolExecutor(1) as beside:
        stopping = beside.submit(rollout.on_purpose, deployment, "stop")
        while not any(event["event"] == "step" and event["step"] == "stop" for event in world.events):
            time.sleep(0.05)
        (answer,) = rollout.unlock(world.deployment(), yes=True)
        with pytest.raises(DeployError):
            stopping.result()

    assert answer["outcome"] == "put back"
    assert world.status().state == "serving"
    assert world.version == "1"
    assert world.status().project["history"][-1]["kind"] == "up"
