"""Nobody meets the moment of change: real HAProxy, real supervisors, and users who never stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import DeployError
from tests.deploy.visitors import visitors
from tests.deploy.world import World, web
from tests.testbed import TestHost
from tests.testbed.fixtures import Place


@pytest.fixture
def world(platform: str, host: TestHost, place: Place, tmp_path: Path) -> Iterator[World]:
    target: dict[str, Any] = {"traffic": {}}
    if platform == "supervisord":
        target["name_prefix"] = f"{place.name}-"
    made = World(tmp_path / "project", host, platform, place.path, place.port(), place.name, target=target)
    yield made
    made.down()  # a HAProxy each, else


def served_by(world: World) -> set[str]:
    """The programs that the state has."""
    return set(world.state()["programs"])


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
