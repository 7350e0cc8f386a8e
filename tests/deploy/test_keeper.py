"""Who is at home on a host with traffic: counts go on whoever dies, and shares are what was said."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from provision.contract.seen import LaneTraffic
from provision.errors import Refused
from tests.deploy import rolling
from tests.deploy.visitors import behind_a_front, crowd
from tests.deploy.world import World, web
from tests.faults.hooks import until


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


def with_canary(world: World, **canary: str) -> None:
    """Version 1 serves, and version 2 is a canary that nobody comes to by chance."""
    world.web("1")
    world.up()
    world.web("2", env={"VERSION": "2", **canary})
    world.up("canary")


def lane(world: World, name: str) -> LaneTraffic:
    return rolling.traffic(world).get("services", {})["web"]["lanes"][name]


def test_shares_by_hand_are_what_users_get_and_figures_go_on_when_the_keeper_is_killed(world: World) -> None:
    with_canary(world, ERRORS="0.5")
    keeper, front = world.pid("keeper"), world.pid("traffic")
    assert rolling.weigh(world, 0.2)["outcome"] == "committed"
    assert rolling.weigh(world, 0.2)["outcome"] == "unchanged"

    with crowd(world) as met:
        until(lambda: lane(world, "canary")["seen"]["requests"] > 50, "it counts")
        world.host.kill(keeper)
        until(lambda: world.pid("keeper") not in (0, keeper), "it is back")
        time.sleep(1)
        assert rolling.weigh(world, 0.0)["shares"] == {"canary": 0.0}
        assert lane(world, "canary")["share"] == 0.0

    told = rolling.traffic(world)
    lanes = told["services"]["web"]["lanes"]
    assert told["keeper"] == "here"
    assert world.pid("traffic") == front
    counted = sum(each["seen"]["requests"] for each in lanes.values())
    assert met["requests"] * 0.9 <= counted <= met["requests"] + 20  # checks come through it as well
    canary = lanes["canary"]["seen"]
    assert met["versions"]["2"] * 0.7 <= canary["requests"] <= met["versions"]["2"]
    assert canary["requests"] * 0.3 < canary["errors"] < canary["requests"] * 0.7
    assert lanes["stable"]["seen"]["errors"] == 0
    assert 0 < lanes["stable"]["seen"]["first_byte"]["p50"] <= lanes["stable"]["seen"]["first_byte"]["p99"] < 5
    assert [each["state"] for each in lanes["canary"]["programs"]] == ["ready"]
    entries = [(each["kind"], each.get("shares")) for each in world.status().project["history"]]
    assert entries[-2:] == [("weigh", {"canary": 0.2}), ("weigh", {"canary": 0.0})]
    world.promote()
    assert "shares" not in world.state()


def test_a_share_needs_somebody_to_give_it_to(world: World) -> None:
    world.web("1")
    world.up()

    with pytest.raises(Refused, match="there is no canary"):
        rolling.weigh(world, 0.1)
    with pytest.raises(Refused, match="no rollout is under way"):
        rolling.steer(world, "abort")
    assert rolling.traffic(world)["services"]["web"]["lanes"].keys() == {"stable"}


@pytest.mark.slow
def test_five_of_a_hundred_are_five_of_a_hundred(world: World) -> None:
    with_canary(world)
    rolling.weigh(world, 0.05)

    with crowd(world, threads=8, pause=0.0) as met:
        until(lambda: sum(each["seen"]["requests"] for each in _lanes(world).values()) > 6000, "many came", 120)

    assert 0.04 < met["versions"]["2"] / met["requests"] < 0.06
    assert met["requests"] * 0.99 <= sum(each["seen"]["requests"] for each in _lanes(world).values())


def _lanes(world: World) -> dict[str, LaneTraffic]:
    return rolling.traffic(world)["services"]["web"]["lanes"]


@pytest.mark.slow
def test_a_new_agent_is_at_home_after_the_next_deploy_and_changes_nobody_s_share(world: World) -> None:
    with_canary(world)
    rolling.weigh(world, 0.25)
    script = f"{world.path}/.deploy/traffic/keep"
    pid = world.pid("keeper")
    agents = world.host.exec(["ls", f"{world.path}/.deploy/agents"]).stdout.split()
    other = "0" * 64
    world.host.exec(["cp", "-a", f"{world.path}/.deploy/agents/{agents[0]}", f"{world.path}/.deploy/agents/{other}"])

    with crowd(world) as met:
        text = world.host.read(script).decode().replace(agents[0], other)
        world.host.exec(["sh", "-c", 'cat >"$0.new" && chmod 700 "$0.new" && mv "$0.new" "$0"', script], stdin=text)
        until(lambda: other in world.host.exec(["cat", f"/proc/{pid}/cmdline"]).stdout, "it is the other one")
        assert lane(world, "canary")["share"] == 0.25
        assert world.up("canary").plan.unchanged

    assert met["errors"] == 0
    assert world.pid("keeper") == pid


@pytest.mark.slow
def test_it_is_small(world: World) -> None:
    with_canary(world)
    rolling.weigh(world, 0.5)
    rolling.begin(world, rolling.document(0.5, each=60, errors=0.02, slower=0.25))

    with crowd(world, threads=8, pause=0.0):
        time.sleep(20)
        rolling.traffic(world)
    status = world.host.exec(["cat", f"/proc/{world.pid('keeper')}/status"]).stdout
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    assert memory < 20_000, status


@pytest.mark.slow
def test_its_socket_is_this_account_s_alone(world: World) -> None:
    world.web("1")
    world.up()

    paths = [f"{world.path}/.deploy/traffic", *_sockets(world)]
    modes = world.host.exec(["stat", "-c", "%a %U", *paths]).stdout.splitlines()
    assert modes == ["710 root", "600 root", "600 haproxy"]  # who answers strangers may write to the log alone


def _sockets(world: World) -> list[str]:
    return [f"{world.path}/.deploy/traffic/{name}" for name in ("keeper.sock", "log.sock")]


@pytest.mark.slow
def test_a_service_cannot_be_called_as_it_is(world: World) -> None:
    world.declare({"web": web(world.port), "keeper": web(world.port + 1)})

    with world.cli("plan") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "it is what who counts its requests is called" in said
    world.web("1")
