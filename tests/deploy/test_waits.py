"""What a deploy did to each program, and how long nobody answered at its port, as the host measured it."""

from __future__ import annotations

import re

import pytest

from provision import errors
from tests.deploy.world import World, web

pytestmark = pytest.mark.root
ONE = pytest.mark.parametrize("platform", ["supervisord"])  # what is measured does not depend on it
SLOW = 0.4  # seconds until a release listens


def slow(port: int, version: str, **more: object) -> dict[str, object]:
    run = "sys.argv = ['server.py', '${port}']; runpy.run_path('server.py')"
    wait = f"import time, runpy, sys; time.sleep({SLOW}); {run}"
    return {**web(port, version), "command": ["python3", "-c", wait], "switch": "in-place", **more}


def test_in_place_users_wait_from_the_old_one_s_stop_to_the_new_one_s_first_answer(world: World) -> None:
    world.declare({"web": slow(world.port, "1"), "idle": {"command": ["sleep", "1000"], "paths": []}})
    first = world.up()
    assert first.waited == {}  # nobody had answered before
    assert {name: str(do) for name, do in first.did.items()} == dict.fromkeys(
        [world.program("web"), world.program("idle")], "start"
    )

    world.declare({"web": slow(world.port, "2"), "idle": {"command": ["sleep", "1000"], "paths": []}})
    second = world.up()

    assert second.did == {world.program("web"): "restart", world.program("idle"): "keep"}
    assert second.waited.keys() == {world.program("web")}
    assert SLOW <= second.waited[world.program("web")] <= second.seconds
    (result,) = [event for event in world.events if event["event"] == "result"]
    assert (result["did"], result["waited"]) == (second.did, second.waited)


@pytest.mark.slow
@ONE
def test_a_port_that_goes_to_another_service_is_waited_for_as_well(world: World) -> None:
    world.declare({"web": slow(world.port, "1")})
    world.up()
    world.declare({"api": slow(world.port, "2")})
    moved = world.up()
    assert moved.did == {world.program("web"): "remove", world.program("api"): "start"}
    assert moved.waited[world.program("api")] >= SLOW


@pytest.mark.slow
@ONE
def test_what_was_proven_beside_starts_once_more_on_its_own_port_which_is_counted(world: World) -> None:
    world.declare({"web": {**slow(world.port, "1"), "switch": "beside"}})
    world.up()
    world.declare({"web": {**slow(world.port, "2"), "switch": "beside"}})
    done = world.up()
    assert done.plan.steps[0].how == "beside"
    assert done.did == {world.program("web"): "restart"}
    assert SLOW <= done.waited[world.program("web")] <= done.seconds - SLOW  # what was before, nobody noticed


@ONE
def test_a_deploy_that_is_put_back_says_how_long_users_waited(world: World) -> None:
    world.declare({"web": slow(world.port, "1")})
    world.up()
    world.declare({"web": slow(world.port, "2", env={"FAIL": "sick"}, check={"http": "/", "timeout": "1s"})})
    with pytest.raises(errors.PutBack) as failed:
        world.up()
    assert world.version == "1"
    assert re.fullmatch(r"The old release \w{12} serves\. Users waited [\d.]+ s\.", failed.value.why)
    assert failed.value.details["waited"][world.program("web")] >= 1  # type: ignore[index]
