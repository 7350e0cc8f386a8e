"""Ctrl-C at any phase: once puts back, twice lets go."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from provision.errors import Exit, Interrupted
from provision.targets import Interrupt
from tests.deploy.world import World
from tests.faults.hooks import at, is_agent, until

pytestmark = pytest.mark.root

PHASES: dict[str, dict[str, Any]] = {
    "while files are shipped": {"event": "phase", "phase": "ship"},
    "before the worker begins": {"event": "transaction"},
    "in preflight": {"event": "step", "step": "preflight"},
    "at the start beside": {"event": "step", "step": "start", "detail": "beside the old one"},
    "at the proof": {"event": "check"},
    "when the proven one stops": {"event": "step", "step": "stop"},
    "at the start in its place": {"event": "step", "step": "start", "detail": ""},
}


@pytest.mark.sampled
@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_once_puts_everything_back(world: World, phase: str) -> None:
    world.web("1")
    old = world.up()
    interrupt = Interrupt()

    world.web("2")
    at(world, interrupt.request, **PHASES[phase])
    with pytest.raises(Interrupted) as stopped:
        world.up(interrupt=interrupt)

    assert stopped.value.exit == Exit.INTERRUPTED
    assert world.version == "1"
    assert world.stable == old.plan.release
    assert world.status().state == "serving"
    assert not world.exists(".deploy/journal")
    assert not world.answers(world.port + 20000)


def test_ctrl_c_that_reaches_a_slow_host_in_one_piece_with_the_request_puts_everything_back(world: World) -> None:
    world.web("1")
    old = world.up()
    interrupt = Interrupt()

    def press() -> None:
        agents = [process.pid for process in world.host.processes() if is_agent(process)]
        assert agents
        for pid in agents:
            world.host.kill(pid, signal.SIGSTOP)
        interrupt.request()
        threading.Timer(1.0, lambda: [world.host.kill(pid, signal.SIGCONT) for pid in agents]).start()

    world.web("2")
    at(world, press, event="phase", phase="transaction")
    with pytest.raises(Interrupted):
        world.up(interrupt=interrupt)

    assert (world.version, world.stable) == ("1", old.plan.release)


def test_ctrl_c_twice_at_once_lets_go_and_the_host_puts_back_alone(world: World) -> None:
    world.web("1")
    old = world.up()
    interrupt = Interrupt()

    world.web("2")
    at(world, lambda: [interrupt.request(), interrupt.request()], event="step", step="start")
    with pytest.raises(Interrupted, match="the host goes on alone") as stopped:
        world.up(interrupt=interrupt)

    assert "deploy status" in stopped.value.next_step
    # The first asked to put back, before the second let go.
    until(lambda: world.status().state == "serving", "the host put back")
    assert (world.version, world.stable) == ("1", old.plan.release)


def test_a_second_ctrl_c_after_the_first_leaves_the_host_to_put_back_alone(world: World) -> None:
    world.web("1")
    old = world.up()
    interrupt = Interrupt()

    world.web("2", switch="in-place", env={"VERSION": "2", "FAIL": "hang"})
    at(world, interrupt.request, event="step", step="start")
    original = world.events.append

    def twice(event: dict[str, Any]) -> None:
        original(event)
        if event.get("step") == "undo":
            interrupt.request()

    world.events.append = twice  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        world.up(interrupt=interrupt)

    until(lambda: world.status().state == "serving", "the host put back")
    assert (world.version, world.stable) == ("1", old.plan.release)
