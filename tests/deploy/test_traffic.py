"""Nobody meets the moment of change: real HAProxy, real supervisors, and users who never stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import DeployError, Refused
from tests.deploy.visitors import behind_a_front, visitors
from tests.deploy.world import World, web
from tests.faults.hooks import until


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


def served_by(world: World) -> set[str]:
    """The programs that the state has, but for who is at home with them."""
    return set(world.state()["programs"]) - {world.program("keeper")}


def test_a_changed_release_takes_over_beside_and_nobody_notices(world: World, tmp_path: Path) -> None:
    world.web("1")
    world.up()
    assert world.version == "1"
    assert served_by(world) == {world.program("web"), world.program("traffic")}
    front = world.pid("traffic")

    with visitors(world) as met:
        world.web("2")
        world.up()

    assert world.version == "2"
    assert met["versions"][-1] == "2"
    assert served_by(world) == {world.program("web", "2"), world.program("traffic")}
    assert world.pid("traffic") == front
    assert world.up().plan.unchanged
    assert _told_by_exec(world, tmp_path) == "2"
    assert {each.service for each in rollout.logs(world.deployment(), ["web"])} <= {"web", "web.2", "web.3"}


def _told_by_exec(world: World, tmp_path: Path) -> str:
    """VERSION, as a command in the environment of whoever serves has it."""
    with (tmp_path / "told").open("w+b") as told:
        rollout.execute(world.deployment(), ["printenv", "VERSION"], output=told.fileno())
        told.seek(0)
        return told.read().decode().strip()


@pytest.mark.slow
def test_a_service_that_calls_another_meets_no_gap_either(world: World) -> None:
    page = ["sh", "-c", 'exec python3 server.py "$0"', "${port}"]
    ask = "import sys, urllib.request as u; u.urlopen(sys.argv[1]).read()"
    calls = {"command": ["python3", "-c", ask, "http://127.0.0.1:${services.web.port}/"], "timeout": "5s"}

    def declare(version: str) -> None:
        api = web(world.port + 1, version, command=page, after=["web"], checks=[calls])
        world.declare({"web": web(world.port, version), "api": api})

    declare("1")
    world.up()
    with visitors(world), visitors(world, port=world.port + 1) as met:
        declare("2")
        world.up()

    assert met["versions"][-1] == "2"


@pytest.mark.slow
def test_a_release_that_fails_cost_nobody_a_request(world: World) -> None:
    world.web("1")
    world.up()

    with visitors(world) as met:
        world.web("broken", env={"VERSION": "broken", "FAIL": "sick"}, check={"http": "/", "timeout": "2s"})
        with pytest.raises(DeployError, match="The old release"):
            world.up()
        world.declare(
            {"web": web(world.port, "unwanted")},
            **{"checks.never": {"http": f"http://127.0.0.1:{world.port}/", "status": [418], "timeout": "2s"}},
        )
        with pytest.raises(DeployError, match="The old release"):
            world.up()

    assert met["versions"][0] == met["versions"][-1] == "1"
    assert world.version == "1"
    assert served_by(world) == {world.program("web"), world.program("traffic")}


@pytest.mark.slow
def test_back_and_forth(world: World) -> None:
    world.web("1")
    world.up()
    world.web("2")
    world.up()

    with visitors(world) as met:
        world.rollback()
        assert world.version == "1"
        world.rollback(to=world.state()["channels"]["stable"])
        world.web("3")
        world.up()

    assert met["versions"][-1] == "3"


@pytest.mark.slow
def test_a_canary_that_is_promoted_stays_as_it_is(world: World) -> None:
    world.web("1")
    world.up()

    with visitors(world, short=1) as met:  # one after another, so that the order is the order of answers
        world.web("2")
        world.up("canary")
        canary = world.program("web", "2")
        assert world.state()["programs"][canary]["lane"] == "canary"
        assert world.version == "1"
        pid = world.pid("web", "2")
        world.target["traffic"] = {"canary": 100}
        world.web("2")
        world.up("canary")
        assert world.version == "2"
        assert world.pid("web", "2") == pid
        world.promote()

    assert met["versions"] == ["1", "2"]
    assert world.state()["programs"][canary]["lane"] == "stable"
    assert served_by(world) == {canary, world.program("traffic")}
    assert world.pid("web", "2") == pid


@pytest.mark.slow
def test_in_place_requests_wait_for_the_new_one_or_for_the_old_one(world: World) -> None:
    world.web("1", switch="in-place")
    world.up()

    with visitors(world) as met:
        world.web("2", switch="in-place")
        world.up()
        assert world.version == "2"
        world.web("3", switch="in-place", env={"VERSION": "3", "FAIL": "late"})
        with pytest.raises(DeployError, match="The old release"):
            world.up()

    assert [each for each in met["versions"] if each != "3"][-1] == "2"
    assert served_by(world) == {world.program("web"), world.program("traffic")}


@pytest.mark.slow
def test_copies_are_replaced_one_after_another(world: World) -> None:
    world.web("1", replicas=3)
    world.up()
    assert len(served_by(world)) == 4

    with visitors(world) as met:
        world.web("2", replicas=3)
        world.up()
        world.web("2", replicas=2)
        world.up()

    assert met["versions"][-1] == "2"
    assert len(served_by(world)) == 3
    assert world.up().plan.unchanged


@pytest.mark.slow
def test_a_host_gets_traffic_and_gives_it_up(world: World) -> None:
    world.target["traffic"] = "none"
    world.web("1")
    world.up()
    assert served_by(world) == {world.program("web")}

    world.target["traffic"] = {}
    world.web("1")
    world.up()
    assert world.version == "1"
    assert served_by(world) == {world.program("web", "2"), world.program("traffic")}
    assert world.up().plan.unchanged

    world.target["traffic"] = "none"
    world.web("2")
    world.up()
    assert world.version == "2"
    assert served_by(world) == {world.program("web")}


@pytest.mark.slow
def test_what_is_stopped_on_purpose_is_waited_for_and_haproxy_comes_back_as_it_was(world: World) -> None:
    world.web("1")
    world.up()

    rollout.on_purpose(world.deployment(), "stop", ["web"])
    assert not world.answers()
    rollout.on_purpose(world.deployment(), "start", ["web"])
    with visitors(world, streams=0):
        rollout.on_purpose(world.deployment(), "restart", ["web"])

    front = world.pid("traffic")
    world.host.kill(front)
    until(lambda: world.pid("traffic") not in (0, front) and world.answers(), "HAProxy is back")
    assert world.version == "1"
    assert world.up().plan.unchanged


def fixed(port: int, version: str) -> dict[str, Any]:
    """A web service that is not told its port."""
    service = web(port, version, command=["sh", "-c", "exec python3 server.py $AT"])
    return {**service, "env": {**service["env"], "AT": str(port)}}


def test_users_of_programs_that_a_release_before_the_last_started_meet_no_change(world: World) -> None:
    world.web("1", replicas=2)
    world.up()
    world.web("1")
    world.up()

    with visitors(world):
        world.web("2")
        world.up()

    assert world.version == "2"
    assert len(served_by(world)) == 2


@pytest.mark.slow
def test_haproxy_has_the_ports_of_the_release_that_serves_whichever_started_it(world: World) -> None:
    world.web("1")
    world.up()
    moved = world.port + 1
    world.declare({"web": web(moved, "2")})
    world.up()

    with visitors(world, port=moved):
        world.declare({"web": web(moved, "3", env={"FAIL": "sick"}, check={"http": "/", "timeout": "2s"})})
        with pytest.raises(DeployError, match="The old release"):
            world.up()
    world.target["traffic"] = "none"
    world.declare({"web": web(moved, "4")})
    world.up()

    assert world.get(port=moved)["version"] == "4"


@pytest.mark.slow
def test_a_service_that_takes_its_port_from_now_on_hands_its_own_to_haproxy(world: World) -> None:
    world.declare({"web": web(world.port), "api": fixed(world.port + 1, "1")})
    world.up()

    with visitors(world):
        world.declare({"web": web(world.port), "api": web(world.port + 1, "2")})
        world.up()

    assert world.get(port=world.port + 1)["version"] == "2"


@pytest.mark.slow
def test_a_service_that_takes_its_port_no_more_is_told_what_stands_there(world: World) -> None:
    world.declare({"web": web(world.port), "api": web(world.port + 1, "1")})
    world.up()
    world.declare({"web": web(world.port), "api": fixed(world.port + 1, "2")})

    with pytest.raises(Refused, match="is what its requests come by, and it is told no other") as refused:
        world.up()

    assert "write ${port} where services.api has its number" in refused.value.next_step
    assert world.get(port=world.port + 1)["version"] == "1"


@pytest.mark.slow
def test_another_address_is_listened_at_and_others_of_the_project_still_find_it(world: World) -> None:
    ask = "import sys, urllib.request as u; u.urlopen(sys.argv[1]).read()"
    calls = {"command": ["python3", "-c", ask, "http://${services.web.host}:${services.web.port}/"], "timeout": "5s"}
    for listen in ("127.0.0.1", world.host.address, "0.0.0.0", "127.0.0.1"):
        world.target["traffic"] = {"listen": listen}
        world.declare({"web": web(world.port), "api": web(world.port + 1, listen, after=["web"], checks=[calls])})
        with visitors(world) if world.stable else nullcontext():
            world.up()
        assert world.get(port=world.port + 1)["version"] == listen
        ran = world.host.exec(["curl", "-fsS", f"http://{world.host.address}:{world.port}/"], check=False)
        assert (ran.returncode == 0) == (listen != "127.0.0.1")


@pytest.mark.slow
def test_a_canary_whose_service_has_no_port_is_none_that_requests_come_to(world: World) -> None:
    world.web("1")
    world.up()

    with visitors(world):
        world.declare({"web": {"command": ["sleep", "1000"]}, "api": web(world.port + 1)})
        world.up("canary")
        world.web("2")
        world.up()

    assert world.version == "2"


@pytest.mark.slow
def test_a_restart_of_all_leaves_alone_what_they_are_reached_through(world: World) -> None:
    world.web("1")
    world.up()
    front = world.pid("traffic")

    with visitors(world):
        rollout.on_purpose(world.deployment(), "restart", [])
    assert world.pid("traffic") == front

    rollout.on_purpose(world.deployment(), "restart", ["traffic"])
    assert world.pid("traffic") != front
    assert world.version == "1"


@pytest.mark.slow
def test_a_service_may_be_called_traffic_where_nothing_stands_before_it(world: World) -> None:
    world.target["traffic"] = "none"
    world.declare({"traffic": web(world.port), "api": web(world.port + 1, after=["traffic"])})
    planned = world.up().plan

    assert "traffic runs" in planned.checks
    assert not world.exists(".deploy/traffic")
    started = [event["program"] for event in world.events if event["event"] == "step" and event["step"] == "start"]
    assert started == [world.program("traffic"), world.program("api")]
