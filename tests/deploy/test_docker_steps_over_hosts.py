"""A release reaches two Docker Engines in turn, by steps that keepers in containers take: real engines, real users."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.docker_host import DockerHost, another
from tests.deploy.in_turn import Fleet, in_turn
from tests.deploy.world import World, web
from tests.faults.hooks import until
from tests.testbed.slots import Slot

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def second(docker_host: DockerHost, slot: Slot) -> Iterator[DockerHost]:
    with another(slot, docker_host.authority) as found:
        yield found


@pytest.fixture
def fleet(docker_host: DockerHost, docker_world: World, second: DockerHost) -> Iterator[Fleet]:
    fleet = in_turn(docker_world, [docker_host.host, second.host])
    yield fleet
    fleet.deploy("down")


def test_the_second_begins_once_the_first_has_passed_and_somebody_promotes_on_both(
    fleet: Fleet, second: DockerHost
) -> None:
    """Of two services, one of which starts after the other; and who waits for its turn may be killed meanwhile."""
    world = fleet.world

    def declare(version: str) -> None:
        world.declare({"web": web(world.port, version), "api": web(world.port + 1, version, after=["web"])})

    declare("1")
    fleet.deploy("up")
    a, b = fleet.names
    fleet.steps("30%", "60%", each="2s")
    declare("2")
    with fleet.users(ports=2) as met:
        assert f"{b}: nobody comes to it yet: its steps begin once {a} promoted it" in fleet.deploy("up")
        keeper = second.client.containers.get(world.program("keeper"))
        second.host.exec(["kill", "-9", str(keeper.attrs["State"]["Pid"])])
        until(lambda: "keeper" in second.running(world.name), "its engine started it again")
        assert fleet.ends() == {a: "passed", b: "passed"}
        fleet.deploy("rollout", "promote")
    assert [fleet.versions, [each.get(port=world.port + 1)["version"] for each in fleet.each]] == [["2", "2"]] * 2
    assert [(each["errors"], each["failed"]) for each in met] == [(0, [])] * 4
    assert "unchanged" in fleet.deploy("up")


def test_one_that_fails_on_the_second_host_is_promoted_by_who_says_so_on_the_first_alone(fleet: Fleet) -> None:
    fleet.web("1")
    fleet.deploy("up")
    a, b = fleet.names
    sick = f"{fleet.world.path}/shared/data/sick"  # which containers see
    fleet.each[1].host.exec(["touch", sick])
    fleet.web("2", "50%", env={"VERSION": "2", "ERRORS": "0.9", "ERRORS_AT": sick})
    with fleet.users():
        fleet.deploy("up")
        told = fleet.deploy("rollout", "watch", code=3)
    assert f"{a}: passed" in told
    assert f"{b}: aborted: step 1 of 1" in told
    assert fleet.versions[1] == "1"
    fleet.deploy("rollout", "promote", "--host", a)
    assert fleet.versions == ["2", "1"]

    fleet.web("3", env={"VERSION": "3"})  # what was mended reaches both
    with fleet.users() as met:
        fleet.deploy("up")
        assert set(fleet.ends().values()) == {"passed"}
        fleet.deploy("rollout", "promote")
    assert fleet.versions == ["3", "3"]
    assert [each["failed"] for each in met] == [[]] * 2
