"""How long a laptop waits: as long as the host works on it, and not for one that says nothing at all."""

from __future__ import annotations

import subprocess
import threading

import pytest

from provision.agent import loader
from provision.errors import Unreachable
from provision.targets import Interrupt, conversation
from tests.deploy.world import World
from tests.faults.hooks import at, in_background, until

pytestmark = pytest.mark.root

_HOLD = "exec 9>>/var/lib/deploy/lock; flock 9; read -r _; exec 9>&-"


def test_a_transaction_may_wait_for_another_project_s_longer_than_any_answer_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_HEARTBEAT_SECONDS", 0.2)
    world.web("1")
    world.up()
    world.web("2")
    waits = threading.Event()

    def wait() -> None:
        monkeypatch.setattr(conversation, "_ANSWER_SECONDS", 2.0)
        waits.set()

    with subprocess.Popen(world.host.inside(["bash", "-c", _HOLD]), stdin=subprocess.PIPE) as neighbour:
        assert neighbour.stdin is not None
        at(world, wait, event="step", step="wait")
        with in_background(world.up) as result:
            assert waits.wait(30)
            threading.Event().wait(3.0)
            assert not result, result
            monkeypatch.setattr(conversation, "_ANSWER_SECONDS", 120.0)
            neighbour.stdin.close()

    assert world.version == "2"
    assert not [event for event in world.events if event["event"] == "alive"]


@pytest.mark.parametrize("interrupt", [None, Interrupt()], ids=["without Ctrl-C", "with Ctrl-C"])
def test_a_host_that_says_nothing_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch, interrupt: Interrupt | None
) -> None:
    world.web("1")
    world.up()
    world.web("2")

    def stop() -> None:
        monkeypatch.setattr(conversation, "_ANSWER_SECONDS", 1.0)
        for pid in world.host.pids("python3", loader.NAME):  # the conversation, and the worker that it forked
            world.host.kill(pid, 19)

    at(world, stop, event="step", step="preflight")
    with pytest.raises(Unreachable, match="no answer in 1 s"):
        world.up(interrupt=interrupt)

    for process in world.host.processes():
        if process.stopped:
            world.host.kill(process.pid, 18)
    monkeypatch.undo()
    until(lambda: world.status().state == "serving" and world.version == "2", "the host finishes alone")
