"""`deploy bench --try`: declarations are measured beside what serves, on every platform, and nothing is left of them.

pytest -m slow tests/deploy/test_bench_tries.py
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.contract.model_types import TYPES_LABEL
from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.deploy.docker_host import DockerHost
from tests.deploy.test_bench import by_hand, llama, records
from tests.deploy.world import World
from tests.faults.hooks import until
from tests.testbed.fixtures import Place

pytestmark = [pytest.mark.root, pytest.mark.slow]  # each loads a model four times, and measures it


@pytest.fixture(params=["supervisord", "systemd", "docker", "supervisord, traffic", "docker, traffic"])
def world(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Iterator[World]:
    platform, _, traffic = request.param.partition(", ")
    if platform == "docker":
        world: World = request.getfixturevalue("docker_world")
        world.project = {"image": request.getfixturevalue("image_with_llama")}
    else:
        host = request.getfixturevalue(f"{platform}_host")
        world = World(tmp_path / "project", host, platform, place.path, place.port(), place.name)
        world.target = {"name_prefix": f"{place.name}-"} if platform == "supervisord" else {}
    world.target |= {"traffic": {}} if traffic else {}
    yield world
    if world.exists("stable"):
        world.down()


@pytest.fixture(scope="module")
def image_with_llama(docker_host: DockerHost) -> str:
    return docker_host.publish(program=llama_server(Path(__file__).parents[2]), labels={TYPES_LABEL: "TQ1_0 TQ2_0"})


def served(world: World, **limits: Any) -> dict[str, Any]:
    """A llama-server of the wheel, or of the image."""
    service = llama(world, **limits)
    if world.platform == "docker":
        service = {**service, "binary": "/llama-server"}
        del service["engine"]
    return service


def test_declarations_are_tried_beside_what_serves_and_nothing_is_left_of_them(world: World) -> None:
    world.declare({"llama": served(world, tokens_per_second=1.0), "other": {"command": ["sleep", "600"]}})
    world.up()
    write_demo_model(world.folder / "models" / "small.gguf", ternary="TQ2_0")
    before = world.state(), world.pid("llama"), world.pid("other"), records(world)
    tried = ["--try", "context=512,1024", "--try", "draft=none,models/small.gguf", "--try", "parallel=2"]

    status, rows = by_hand(world, "llama", *tried, "--generate", "16", seconds=500)

    assert status == 0, rows
    assert [(row["tried"]["context"], row["tried"]["draft"]) for row in rows] == [
        ("512", "none"),
        ("512", "models/small.gguf"),
        ("1024", "none"),
        ("1024", "models/small.gguf"),
    ]
    assert all((row["parallel"], row["generate"], row["wrong"]) == (2, 16, "") for row in rows)
    assert (world.state(), world.pid("llama"), world.pid("other"), records(world)) == before
    assert world.host.exec(["ls", f"{world.path}.previews"], check=False).stdout == ""

    status, rows = by_hand(world, "llama", "--try", "draft=models/nowhere.gguf")
    assert (status, rows) == (1, [])
    assert (world.state(), world.pid("llama")) == before[:2]


def test_who_ends_a_try_leaves_nothing_and_nobody_tries_in_its_place_meanwhile(world: World) -> None:
    world.declare({"llama": served(world)})
    world.up()
    before = world.state(), world.pid("llama")
    with world.cli("bench", "llama", "--try", "context=512,1024", "--generate", "2000", "--json") as process:
        assert process.stdout
        until(lambda: world.host.exec(["ls", f"{world.path}.previews"], check=False).stdout != "", "it is there")

        with world.cli("bench", "llama", "--try", "threads=1", "--json") as other:
            said, _ = other.communicate(timeout=60)
        assert (other.returncode, "there is a preview bench already" in said) == (4, True)

        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert world.host.exec(["ls", f"{world.path}.previews"], check=False).stdout == ""
    assert (world.state(), world.pid("llama")) == before
