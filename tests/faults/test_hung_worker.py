"""A worker that hangs: named, ended, and the host put back."""

from __future__ import annotations

import pytest

from provision import rollout
from provision.errors import DeployError
from tests.deploy.world import World
from tests.faults.hooks import at, in_background, laptop, slow, until, worker

pytestmark = pytest.mark.root


def test_unlock_names_a_worker_that_hangs_then_ends_it_and_recovers(world: World) -> None:
    world.web("1")
    old = world.up()

    world.web("2", switch="in-place")
    at(world, lambda: world.host.kill(worker(world), 19), event="step", step="start")
    deployment = world.deployment(who="ann@desk")
    deployment.on_event = world.events.append
    with in_background(lambda: rollout.up(deployment)) as result:
        until(lambda: any(process.stopped for process in world.host.processes()), "the worker hangs")
        other = World.deployment(world, who="bob@laptop")
        (held,) = rollout.unlock(other)
        (ended,) = rollout.unlock(other, yes=True)

    assert held["outcome"] == "held"
    assert held["holder"]["who"] == "ann@desk"
    assert ended["outcome"] == "put back"
    assert isinstance(result[0], DeployError)
    assert (world.version, world.stable) == ("1", old.plan.release)
    assert world.status().state == "serving"
    assert world.up().outcome == "committed"


def test_unlock_ends_a_worker_whose_laptop_is_gone(world: World) -> None:
    world.web("1")
    old = world.up()
    slow(world, "2", 1000)
    with laptop(world):
        pass
    # The conversation ends with the laptop, as soon as sshd sees that: the worker alone still holds what both had.
    label = world.host.read(f"{world.path}/.deploy/lock")
    until(lambda: world.status().state == "deploying", "the worker goes on")

    (held,) = rollout.unlock(world.deployment())
    (ended,) = rollout.unlock(world.deployment(), yes=True)

    assert held["holder"]["doing"] == "up"
    assert str(held["holder"]["pid"]).encode() in label
    assert ended["outcome"] == "put back"
    assert (world.version, world.stable) == ("1", old.plan.release)
    assert world.status().state == "serving"
