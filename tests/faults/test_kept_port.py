"""A server that binds without SO_REUSEADDR is refused while closed connections keep its port; that is waited for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from provision import rollout
from provision.errors import DeployError, PutBack
from tests.deploy.world import World, web
from tests.faults.hooks import at, worker

pytestmark = pytest.mark.root

_KEPT_SECONDS = 8  # a minute elsewhere, and of what its client has closed as well
# Two that are never closed by their client: the server's end waits for that until the kernel forgets it.
_CLIENT = """
import socket, sys, time
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(2)]
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["supervisord", pytest.param("systemd", marks=pytest.mark.slow)])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _forgets_soon(world: World) -> Iterator[None]:
    def set_to(seconds: int) -> None:
        inside = [
            "nsenter",
            f"--net=/run/netns/{world.host.name}",
            "sysctl",
            "-qw",
            f"net.ipv4.tcp_fin_timeout={seconds}",
        ]
        subprocess.run(inside, check=True)

    set_to(_KEPT_SECONDS)
    yield
    set_to(60)


def declare(world: World, version: str, **more: Any) -> None:
    # Of an HTTP check it is the server that closes first, and a minute is no setting.
    check = {"tcp": "127.0.0.1:${port}", "timeout": "15s"}
    service = web(world.port, version, switch="in-place", check=check, **more)
    world.declare({"web": {**service, "env": {"VERSION": version, "REUSE": "no", **more.get("env", {})}}})


def clients(world: World) -> AbstractContextManager[None]:
    return world.held(f"exec python3 -c '{_CLIENT}' $1", str(world.port))


def waits(events: list[dict[str, Any]]) -> list[str]:
    return [event["detail"] for event in events if event["event"] == "step" and event["step"] == "wait"]


def test_a_new_release_waits_for_the_port_that_the_old_one_left(world: World) -> None:
    declare(world, "1")
    world.up()

    declare(world, "2")
    with clients(world):
        world.up()

    [said] = waits(world.events)
    assert (world.version, world.status().state) == ("2", "serving")
    assert said.startswith(f"for port {world.port}, which closed connections keep for about ")
    assert said.endswith((" s more; at most 120 s", " s more; at most 119 s"))


def test_the_old_release_is_put_back_once_its_port_is_free(world: World) -> None:
    declare(world, "1")
    old = world.up().plan.release

    declare(world, "2", env={"FAIL": "exit"})
    with clients(world), pytest.raises(PutBack, match="exited with status 3"):
        world.up()

    # What is broken for a reason of its own is not waited for: the old one is down meanwhile.
    assert len(waits(world.events)) == 1
    assert (world.version, world.stable, world.status().state) == ("1", old, "serving")


@pytest.mark.slow
def test_a_recovery_waits_for_it_too(world: World) -> None:
    declare(world, "1")
    old = world.up().plan.release

    declare(world, "2", env={"FAIL": "exit"})
    with clients(world):
        at(world, lambda: world.host.kill(worker(world)), event="step", step="undo")
        with pytest.raises(DeployError):
            world.up()
        rollout.unlock(world.deployment())

    assert (world.version, world.stable, world.status().state) == ("1", old, "serving")
