"""What runs on demand while a deploy changes it: restarted, or left to finish, and told as what it is."""

from __future__ import annotations

import pytest

from provision.cli.render.status import status_lines
from provision.errors import PutBack
from tests.deploy.world import World, web

pytestmark = pytest.mark.root


def declare(world: World, version: str, **more: object) -> None:
    world.declare({"worker": web(world.port, version, on_demand=True, **more)})


def start(world: World) -> None:
    """As by hand."""
    name = world.program("worker")
    start = ["supervisorctl", "start"] if world.platform == "supervisord" else ["systemctl", "start"]
    world.host.exec([*start, name])
    world.host.exec(["sh", "-c", f"until curl -fsS http://127.0.0.1:{world.port}/health; do sleep 0.1; done"])


def stop(world: World) -> None:
    name = world.program("worker")
    world.host.exec([*(["supervisorctl"] if world.platform == "supervisord" else ["systemctl"]), "stop", name])


def shown(world: World) -> str:
    """Its line of `deploy status`."""
    return next(line for line in status_lines(world.status()) if world.program("worker") in line)


def test_one_that_is_to_be_restarted_runs_its_new_code_after_a_deploy(world: World) -> None:
    declare(world, "1", on_switch="restart")
    world.up()
    start(world)
    old = world.get()["pid"]

    declare(world, "2", on_switch="restart")
    new = world.up().plan.release

    assert world.version == "2"
    assert world.get()["pid"] != old
    assert f"from {new[:12]}" in shown(world)
    assert world.status().state == "serving"


def test_one_that_does_not_run_is_not_started_by_a_deploy(world: World) -> None:
    declare(world, "1", on_switch="restart")
    world.up()
    declare(world, "2", on_switch="restart")
    world.up()

    assert not world.answers()


def test_one_that_was_restarted_runs_its_old_code_after_a_failed_deploy(world: World) -> None:
    declare(world, "1", on_switch="restart")
    world.up()
    start(world)

    declare(world, "2", on_switch="restart", env={"VERSION": "2", "FAIL": "exit"})
    with pytest.raises(PutBack, match="exited with status 3"):
        world.up()

    assert world.version == "1"


@pytest.mark.parametrize("prove", [False, True])
def test_one_that_finishes_on_its_old_code_is_told_as_such(world: World, prove: bool) -> None:
    declare(world, "1", prove=prove)
    first = world.up().plan.release
    start(world)
    pid = world.get()["pid"]

    declare(world, "2", prove=prove)
    world.up()
    declare(world, "3", prove=prove)
    last = world.up().plan.release

    assert (world.get()["pid"], world.version) == (pid, "1")
    assert f"from {first[:12]}" in shown(world)
    assert f"its next start is from {last[:12]}" in shown(world)

    stop(world)
    start(world)

    assert world.version == "3"
    assert f"from {last[:12]}" in shown(world)
