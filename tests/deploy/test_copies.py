"""Several copies of a service on a host: each with a port and GPUs of its own, and only what changed is touched.

What drivers say comes from a stand-in for nvidia-smi: what it lists is what such a host has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from provision import rollout
from provision.cli.render.facts import facts_lines
from provision.cli.render.plan import plan_lines
from provision.cli.render.status import status_lines
from provision.errors import DeployError, PutBack, Refused
from provision.native.model import write_demo_model
from tests.deploy.world import World, web
from tests.faults.hooks import at, worker

pytestmark = pytest.mark.root


def _on(*platforms: str) -> pytest.MarkDecorator:
    """The normal run has a test on these; the slow run has it on the others."""
    both = ("supervisord", "systemd")
    cases = [each if each in platforms else pytest.param(each, marks=pytest.mark.slow) for each in both]
    return pytest.mark.parametrize("platform", cases, indirect=True)


ON_SUPERVISORD, ON_SYSTEMD, BOTH_SLOW = _on("supervisord"), _on("systemd"), _on()

_SMI = "/usr/local/bin/nvidia-smi"
_LIST = "/run/gpus-of-this-host"

Gpus = Callable[..., None]


@pytest.fixture
def gpus(world: World) -> Iterator[Gpus]:
    """Say which GPUs the host has, by the last digit of their uuids."""

    def has(*numbers: int, free: int = 24000) -> None:
        rows = (f"RTX 4090, GPU-0000000{number}-f00d, 24564, {free}, 550.54, [N/A]\n" for number in numbers)
        world.host.write(_LIST, "".join(rows))

    world.host.write(_SMI, f"#!/bin/sh\ncat {_LIST}\n", mode=0o755)
    has()
    yield has
    world.host.exec(["rm", "-f", _SMI, _LIST])


def copy(world: World, number: int) -> str:
    return world.program("web", "" if number == 1 else str(number))


def pids(world: World, copies: int) -> list[int]:
    seen = world.status().project["view"]["programs"]
    return [seen[copy(world, number)]["pid"] for number in range(1, copies + 1)]


def serving(world: World, copies: int) -> list[str]:
    """The version of each copy, on its port."""
    return [world.get(port=world.port + at)["version"] for at in range(copies)]


def seats(world: World, copies: int) -> list[str]:
    """The GPU that each copy sees."""
    return [world.get(port=world.port + at)["env"]["CUDA_VISIBLE_DEVICES"] for at in range(copies)]


def uuid(number: int) -> str:
    return f"GPU-0000000{number}-f00d"


@ON_SYSTEMD
def test_copies_come_and_go_and_what_did_not_change_runs_on(world: World) -> None:
    world.web("1", replicas=4)
    world.up()
    before = pids(world, 4)
    assert serving(world, 4) == ["1"] * 4
    assert world.status().state == "serving"

    world.web("1", replicas=2)
    fewer = world.up()

    assert pids(world, 2) == before[:2]
    assert not world.answers(world.port + 2)
    assert set(world.state()["programs"]) == {copy(world, 1), copy(world, 2)}
    assert {step.program: str(step.do) for step in fewer.plan.steps} == {
        copy(world, 1): "keep",
        copy(world, 2): "keep",
        copy(world, 3): "remove",
        copy(world, 4): "remove",
    }
    assert world.up().outcome == "unchanged"


@BOTH_SLOW
def test_a_release_that_fails_in_its_second_copy_alone_puts_all_of_them_back(world: World) -> None:
    world.web("1", replicas=3)
    world.up()
    old = world.stable

    second = [
        "sh",
        "-c",
        'test "$1" = "$2" && exit 7; exec python3 server.py "$1"',
        "sh",
        "${port}",
        str(world.port + 1),
    ]
    world.web("2", replicas=3, command=second)
    with pytest.raises(PutBack) as failed:
        world.up()

    assert copy(world, 2) in str(failed.value)
    assert (world.stable, serving(world, 3)) == (old, ["1"] * 3)
    assert world.status().state == "serving"


@BOTH_SLOW
def test_every_verb_knows_copies(world: World) -> None:
    world.web("1", replicas=2)
    world.up()
    world.web("2", replicas=2)
    world.up("canary")
    assert serving(world, 2) == ["1", "1"]
    assert world.get(port=world.port + 10000)["version"] == "2"

    world.promote()
    assert serving(world, 2) == ["2", "2"]
    assert not world.answers(world.port + 10000)
    checked = rollout.smoke(world.deployment())
    assert [(each.outcome.name, each.outcome.passed) for each in checked] == [
        ("web http /health", True),
        ("web.2 http /health", True),
    ]

    world.rollback()
    assert serving(world, 2) == ["1", "1"]
    said = ["sh", "-c", 'echo "copy on $1"; exec python3 server.py "$1"', "sh", "${port}"]
    world.web("3", replicas=2, command=said)
    world.up()
    for at_, name in enumerate(("web", "web.2")):
        said_ = [line for line in rollout.logs(world.deployment(), name) if line.startswith("copy on ")]
        assert said_ == [f"copy on {world.port + at_}"]

    world.down()
    assert not world.answers(world.port)
    assert not world.answers(world.port + 1)
    assert world.state()["programs"] == {}


@ON_SUPERVISORD
def test_each_copy_has_a_gpu_of_its_own_and_keeps_it(world: World, gpus: Gpus) -> None:
    gpus(1, 2, 3)
    world.web("1", replicas=2, resources={"gpus": 1, "vram": "20GiB"})
    world.up()
    assert seats(world, 2) == [uuid(1), uuid(2)]

    gpus(3, 2, 1, free=100)  # in another order, and in use
    world.web("2", replicas=2, resources={"gpus": 1, "vram": "20GiB"})
    shown = "\n".join(plan_lines("here", rollout.plan(world.deployment())[0].plan))
    again = world.up()

    assert seats(world, 2) == [uuid(1), uuid(2)]
    assert serving(world, 2) == ["2", "2"]
    assert [step.devices for step in again.plan.steps] == [(uuid(1),), (uuid(2),)]
    assert "on GPU-00000001" in shown
    assert "on GPU-00000002" in shown
    assert world.state()["programs"][copy(world, 2)]["devices"] == [uuid(2)]


@ON_SUPERVISORD
def test_a_ternary_model_beside_a_gpu_is_said_to_run_on_the_cpu(world: World, gpus: Gpus) -> None:
    gpus(1)
    (world.folder / "models").mkdir()
    write_demo_model(world.folder / "models/tiny.gguf")
    world.web("1", model="models/tiny.gguf", resources={"gpus": 1})

    planned = rollout.plan(world.deployment())[0].plan
    world.up()

    said = "models/tiny.gguf holds TQ2_0 tensors, which have no CUDA kernels: the CPU computes them anyway"
    assert planned.warnings == (said,)
    assert [event["text"] for event in world.events if event["event"] == "warning"] == [said]


@ON_SUPERVISORD
def test_a_gpu_that_vanishes_is_told_and_its_copy_moves_or_is_refused_by_name(world: World, gpus: Gpus) -> None:
    gpus(1, 2)
    world.web("1", replicas=2, resources={"gpus": 1})
    world.up()
    before = pids(world, 2)

    gpus(1)
    told = "\n".join(status_lines(world.status()))
    with pytest.raises(Refused, match=r"web\S* needs a GPU of its own, and none of 1 is left") as refused:
        world.up()
    assert f"{copy(world, 2)} has lost GPU-00000002" in told
    assert f"GPU-00000001, 24000 MiB free: {copy(world, 1)}." in str(refused.value)
    assert pids(world, 2) == before

    gpus(1, 3)
    moved = world.up()

    assert seats(world, 2) == [uuid(1), uuid(3)]
    assert pids(world, 1) == before[:1]
    assert [step.why for step in moved.plan.steps] == ["", "GPU-00000002 is gone"]
    assert world.status().lost == {}


@BOTH_SLOW
def test_copies_share_a_gpu_by_fractions_and_the_candidate_has_another(world: World, gpus: Gpus) -> None:
    gpus(1, 2)
    world.web("1", replicas=3, resources={"gpu_fraction": 0.5})
    world.up()
    assert seats(world, 3) == [uuid(1), uuid(1), uuid(2)]

    world.web("2", replicas=3, resources={"gpu_fraction": 0.5})
    outcome = world.up()

    assert [str(step.how) for step in outcome.plan.steps] == ["beside", "in-place", "in-place"]
    assert seats(world, 3) == [uuid(1), uuid(1), uuid(2)]
    assert serving(world, 3) == ["2"] * 3


@BOTH_SLOW
def test_what_goes_gives_its_gpu_to_what_comes(world: World, gpus: Gpus) -> None:
    gpus(1)
    world.declare({"old": web(world.port, resources={"gpus": 1})})
    world.up()

    world.declare({"new": web(world.port + 5, "2", resources={"gpus": 1})})
    world.up()

    assert world.get(port=world.port + 5)["env"]["CUDA_VISIBLE_DEVICES"] == uuid(1)
    assert not world.answers(world.port)


@BOTH_SLOW
def test_a_release_without_gpus_is_gone_back_to_and_forth(world: World, gpus: Gpus) -> None:
    world.web("1")
    world.up()
    gpus(1)
    world.web("2", resources={"gpus": 1})
    with_gpu = world.up()
    world.rollback()
    assert "CUDA_VISIBLE_DEVICES" not in world.get()["env"]

    world.web("1")  # what is declared now asks for none
    world.rollback(with_gpu.plan.release)

    assert seats(world, 1) == [uuid(1)]


@ON_SUPERVISORD
def test_facts_list_every_gpu(world: World, gpus: Gpus) -> None:
    gpus(1, 2)
    world.web("1")

    text = "\n".join(facts_lines(rollout.facts(world.deployment())[0]))

    assert text.count("RTX 4090") == 2
    assert uuid(1) in text
    assert uuid(2) in text


@BOTH_SLOW
def test_a_worker_that_is_killed_among_copies_leaves_what_unlock_puts_back(world: World, gpus: Gpus) -> None:
    gpus(1, 2)
    world.web("1", replicas=2, resources={"gpus": 1})
    old = world.up()
    world.web("2", replicas=2, resources={"gpus": 1})

    at(world, lambda: world.host.kill(worker(world), 9), event="step", step="start", program=copy(world, 2))
    with pytest.raises(DeployError):
        world.up()
    (ended,) = rollout.unlock(world.deployment(), yes=True)

    assert ended["outcome"] == "put back"
    assert (world.stable, serving(world, 2)) == (old.plan.release, ["1", "1"])
    assert seats(world, 2) == [uuid(1), uuid(2)]
    assert world.status().state == "serving"
