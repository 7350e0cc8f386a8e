"""What runs once a release: before traffic, never twice by itself, put back with the deploy, and told when cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import Degraded, Interrupted, PutBack, Refused, SomeHostsFailed
from provision.targets import Interrupt
from tests.deploy.world import World, web
from tests.faults.hooks import at, laptop, until, worker
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root

KEY = "key-that-is-long-enough"


@pytest.fixture
def platform() -> str:
    return "supervisord"


def declare(world: World, version: str, script: str, undo: str = "", **more: Any) -> None:
    """A web service, and a step that writes what it does into `shared/did`."""
    did = f"{world.path}/shared/did"
    once = {"command": ["sh", "-c", f"did={did}; {script}"]} | (
        {"undo": ["sh", "-c", f"did={did}; {undo}"]} if undo else {}
    )
    services = more.pop("services", {"web": web(world.port, version)})
    world.declare(services, env=f"KEY={KEY}\n", **{"once.migrate": {**once, **more}})


def did(world: World) -> list[str]:
    return world.host.exec(["sh", "-c", f"cat {world.path}/shared/did 2>/dev/null || true"]).stdout.split()


def kept(world: World) -> list[str]:
    """How each ended, as the host remembers."""
    return [record["outcome"] for record in json.loads(world.host.read(f"{world.path}/.deploy/once.json"))]


def test_it_runs_once_for_a_release_with_its_secrets_before_the_program_and_again_only_if_asked(world: World) -> None:
    declare(world, "1", f'test -f server.py; test "$KEY" = {KEY} && echo migrated >>$did', secrets=["KEY"])
    world.up()

    assert did(world) == ["migrated"]
    steps = [event["step"] for event in world.events if event["event"] == "step"]
    assert steps.index("once") < steps.index("start")
    assert rollout.history(world.deployment())[-1]["once"] == {"migrate": "done"}
    assert world.up().outcome == "unchanged"
    world.up(again=("migrate",))
    assert did(world) == ["migrated"] * 2
    planned = rollout.plan(world.deployment())[0].plan
    assert planned.once[0].do == "keep"
    assert planned.unchanged
    declare(world, "2", f'test "$KEY" = {KEY} && echo migrated >>$did', secrets=["KEY"])
    world.up()
    world.rollback()
    world.up()

    assert did(world) == ["migrated"] * 3
    told = world.host.exec(
        ["sh", "-c", f"cat {world.path}/.deploy/transactions/* {world.path}/.deploy/history/*"]
    ).stdout
    assert KEY not in told
    assert not world.exists(".deploy/once-secrets")


def test_its_failure_puts_back_and_undoes_and_the_next_up_tries_again(world: World) -> None:
    world.web("1")
    world.up()
    declare(world, "2", "echo up >>$did; echo no such table; exit 3", undo="echo down >>$did")

    with pytest.raises(PutBack, match=r"once\.migrate ended with status 3") as failed:
        world.up()

    assert world.version == "1"
    assert failed.value.log == ("no such table",)
    assert "once.migrate was undone" in failed.value.why
    with pytest.raises(PutBack):
        world.up()
    assert did(world) == ["up", "down"] * 2


@pytest.mark.slow
def test_a_release_that_fails_after_it_takes_it_back_before_the_old_one_is_proven(world: World) -> None:
    world.web("1")
    world.up()
    bad = {"web": web(world.port, "2", command=["false"], switch="in-place")}
    declare(world, "2", "echo up >>$did", undo="echo down >>$did", services=bad)
    with pytest.raises(PutBack):
        world.up()
    assert (did(world), kept(world), world.version) == (["up", "down"], ["undone"], "1")

    declare(world, "3", "echo up >>$did", services=bad)  # nothing undoes this one, so it is done
    with pytest.raises(PutBack):
        world.up()
    with pytest.raises(PutBack):
        world.up()
    assert did(world) == ["up", "down", "up"]


def test_an_undo_that_fails_is_degraded_and_demands_somebody_who_looks(world: World) -> None:
    world.web("1")
    world.up()
    declare(world, "2", "exit 3", undo="exit 4")

    with pytest.raises(Degraded, match="migrate ended with status 3") as failed:
        world.up()

    assert "what undoes once.migrate ended with status 4" in failed.value.why
    assert world.version == "1"
    assert rollout.status(world.deployment())[0].state == "degraded"
    declare(world, "2", "echo up >>$did")
    with pytest.raises(Refused, match="what undoes it failed"):
        world.up()
    world.up(done=("migrate",))
    assert (did(world), world.version) == ([], "2")


@pytest.mark.parametrize("undo", ["", pytest.param("echo down >>$did", marks=pytest.mark.slow)])
def test_one_that_is_cut_by_a_killed_worker_is_not_run_again_blindly(world: World, undo: str) -> None:
    world.web("1")
    world.up()
    declare(world, "2", "echo up >>$did; test -e $did.let || sleep 1009", undo=undo)
    with laptop(world, event="step", step="once"):
        until(lambda: did(world) == ["up"], "it runs")
        world.host.exec(["kill", "-9", str(worker(world))])
        rollout.unlock(World.deployment(world), yes=True)

    assert world.version == "1"
    assert kept(world) == ["undone" if undo else "cut"]
    world.host.write(f"{world.path}/shared/did.let", b"")
    if undo:
        assert did(world) == ["up", "down"]
        world.up()
        assert did(world) == ["up", "down", "up"]
        return
    with pytest.raises(Refused, match="was cut off in the middle") as refused:
        world.up()
    assert "deploy up --done migrate" in refused.value.next_step
    assert rollout.plan(world.deployment())[0].plan.refused
    assert did(world) == ["up"]
    world.up(again=("migrate",))
    assert (did(world), world.version) == (["up", "up"], "2")


@pytest.mark.slow
def test_ctrl_c_ends_it_and_says_that_it_was_cut(world: World) -> None:
    world.web("1")
    world.up()
    declare(world, "2", "echo begun; sleep 1009")
    interrupt = Interrupt()
    at(world, interrupt.request, event="output", text="begun")

    with pytest.raises(Interrupted) as ended:
        world.up(interrupt=interrupt)

    assert "once.migrate was cut off" in ended.value.why
    assert not world.host.pids("sleep", "1009")
    assert world.version == "1"


@pytest.mark.slow
def test_of_several_hosts_the_first_runs_it_and_the_others_wait_and_know(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    hosts = [make_host(Kind.SUPERVISORD) for _ in range(2)]
    target = {"hosts": [f"root@{host.address}" for host in hosts], "rollout": {"canary": 0}}
    world = World(tmp_path / "project", hosts[0], "supervisord", place.path, place.port(), place.name, target=target)
    (world.folder / "known_hosts").write_text("".join(f"{host.address} {host.host_key}\n" for host in hosts))
    declare(world, "1", "echo up >>$did; exit 3")
    with pytest.raises(SomeHostsFailed, match="1 of 2") as failed:
        rollout.up(world.deployment())
    assert "1 hosts were not begun" in failed.value.why

    declare(world, "1", "echo up >>$did")
    second = hosts[1].address
    with pytest.raises(Refused, match=r"once\.migrate has not run"):
        rollout.up(world.deployment(), hosts=[second])
    rollout.up(world.deployment())

    assert did(world) == ["up", "up"]
    assert not hosts[1].exec(["sh", "-c", f"ls {world.path}/shared/did"], check=False).stdout
    world.target["hosts"] = [f"root@{second}", f"root@{hosts[0].address}"]
    declare(world, "1", "echo up >>$did")
    planned = rollout.plan(world.deployment())
    assert [item.plan.unchanged for item in planned] == [True, True]
