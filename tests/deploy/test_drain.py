"""Requests in flight end before their server is stopped, where the supervisor itself knows of no waiting."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import DeployError, Interrupted
from provision.targets import Interrupt
from tests.deploy.world import World, web
from tests.faults.hooks import at, in_background, until, worker

pytestmark = pytest.mark.root

WHOLE = " ".join([*map(str, range(30)), "end"])


@pytest.fixture
def platform() -> str:
    return "supervisord"  # systemd asks by itself, see tests/manifests/test_systemd_host.py


def declare(world: World, version: str, gauge: str = "true", drain: str = "30s", **more: Any) -> None:
    shutil.copy(Path(__file__).with_name("drained.py"), world.folder)
    env = {"VERSION": version, "GAUGE": gauge}
    command, metrics = ["python3", "drained.py", "${port}"], {"busy": ["busy"]}
    service = web(world.port, command=command, env=env, metrics=metrics, drain=drain, switch="in-place", **more)
    world.declare({"web": service})


def streaming(world: World) -> subprocess.Popen[str]:
    """A request in flight."""
    asked = ["curl", "-sSN", "-m", "60", f"http://127.0.0.1:{world.port}/stream"]
    process = subprocess.Popen(world.host.inside(asked), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.read(2) == "0 "
    return process


def told(world: World) -> list[str]:
    """What was said of draining."""
    return [event["detail"] for event in world.events if event.get("step") == "drain"]


@pytest.mark.parametrize(
    "then",
    ["it is replaced", *(pytest.param(way, marks=pytest.mark.slow) for way in ("it is removed", "all goes down"))],
)
def test_what_is_in_flight_ends_whole_before_its_server_is_stopped(world: World, then: str) -> None:
    declare(world, "1")
    world.up()

    with streaming(world) as in_flight:
        if then == "all goes down":
            world.down()
        elif then == "it is removed":
            world.declare({"other": web(world.port + 1)})
            world.up()
        else:
            declare(world, "2")
            world.up()
        rest, _ = in_flight.communicate(timeout=60)

    assert "0 " + rest == WHOLE
    assert told(world)[0] == "for at most 30 s"
    assert re.fullmatch(r"idle after [0-9.]+ s: 0 requests in flight", told(world)[1])


@pytest.mark.parametrize(
    ("gauge", "said"),
    [
        ("silent", "not idle after 1 s: no answer"),
        pytest.param("stuck", r"not idle after [0-9.]+ s: 1 requests in flight", marks=pytest.mark.slow),
    ],
)
def test_a_server_that_is_never_idle_holds_up_nobody_for_longer_than_its_drain(
    world: World, gauge: str, said: str
) -> None:
    declare(world, "1", gauge, drain="1s")
    world.up()
    declare(world, "2")

    world.up()

    assert world.version == "2"
    assert re.fullmatch(said, told(world)[-1])


def test_ctrl_c_while_requests_are_waited_for_leaves_their_server_alone(world: World) -> None:
    declare(world, "1", "stuck", drain="10m")
    world.up()
    before = world.pid("web")
    declare(world, "2")
    interrupt = Interrupt()
    at(world, interrupt.request, event="step", step="drain")

    with pytest.raises(Interrupted):
        world.up(interrupt=interrupt)

    assert (world.version, world.pid("web")) == ("1", before)
    assert world.status().state == "serving"


def test_a_worker_that_is_killed_while_it_waits_leaves_the_old_server_alone(world: World) -> None:
    declare(world, "1", "stuck", drain="10m")
    world.up()
    before = world.pid("web")
    declare(world, "2")
    at(world, lambda: world.host.kill(worker(world)), event="step", step="drain")
    deployment = world.deployment()
    deployment.on_event = world.events.append

    with in_background(lambda: rollout.up(deployment)) as result:
        until(lambda: bool(result), "the toolkit notices")
    assert isinstance(result[0], DeployError)
    rollout.unlock(world.deployment(), yes=True)

    assert (world.version, world.pid("web")) == ("1", before)
    assert world.status().state == "serving"


@pytest.mark.slow
def test_what_failed_its_checks_is_put_back_without_waiting_for_it(world: World) -> None:
    declare(world, "1")
    world.up()
    declare(world, "2", "stuck", drain="10m", checks=[{"http": "/", "body": "not this", "timeout": "1s"}])
    began = time.monotonic()

    with pytest.raises(DeployError):
        world.up()

    assert world.version == "1"
    assert time.monotonic() - began < 300, "it did not wait for the ten minutes of the drain"
