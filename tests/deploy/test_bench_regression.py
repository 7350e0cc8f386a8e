"""A release that is slower than stable was on the same host never serves; where others use its cores, nobody can say.

Others use the cores of a machine that runs tests at any time, so the host is given the kernel's count of one moment: to
it nobody works. The slower release is stopped for nineteen twentieths of the time, which no noise makes up for.

    pytest -m slow tests/deploy/test_bench_regression.py
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from provision.errors import DeployError
from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.deploy.test_bench import measured, records
from tests.deploy.world import World
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost, Place

pytestmark = [pytest.mark.root, pytest.mark.slow]

_SLOWED = """build/bin/llama-server "$@" & engine=$!
trap 'kill -CONT $engine; kill $engine; wait $engine; exit' TERM
while kill -CONT $engine && sleep 0.02 && kill -STOP $engine && sleep 0.38; do :; done"""
_AS_IT_IS = 'exec build/bin/llama-server "$@"'
_BUSY = "while :; do :; done & echo held; cat; kill $!"


@pytest.fixture
def world(make_host: MakeHost, place: Place, tmp_path: Path) -> World:
    host = make_host(Kind.SUPERVISORD)
    host.exec(["sh", "-c", "cat /proc/stat >/root/stat; mount --bind /root/stat /proc/stat"])
    world = World(tmp_path / "project", host, "supervisord", place.path, place.port(), place.name)
    (world.folder / "build/bin").mkdir(parents=True)
    shutil.copy(llama_server(Path(__file__).parents[2]), world.folder / "build/bin/llama-server")
    (world.folder / "models").mkdir()
    write_demo_model(world.folder / "models/model.gguf")
    return world


def declare(world: World, version: str, run: str) -> None:
    words = ["--model", "models/model.gguf", "--port", "${port}", "--alias", version, "--threads", "1"]
    asked = {"prompt": 20, "generate": 20, "parallel": 1, "regression": "10%"}
    llama = {
        "command": ["sh", "-c", run, "llama", *words],
        "port": world.port,
        "switch": "beside",
        "checks": [{"http": "/health", "timeout": "60s"}, {"bench": asked, "timeout": "5m"}],
    }
    world.declare({"llama": llama})


def served(world: World) -> str:
    models: list[dict[str, Any]] = world.get("/v1/models")["data"]
    return str(models[0]["id"])


def test_a_release_that_is_far_slower_than_stable_is_put_back(world: World) -> None:
    declare(world, "1", _AS_IT_IS)
    world.up()
    stable = measured(world)
    assert stable["beside"] == []
    declare(world, "2", _SLOWED)

    with pytest.raises(DeployError, match=r"tokens/s, and stable measured \d+\.\d here: more than 10% less"):
        world.up()

    assert served(world) == "1"
    (failed,) = [each for each in records(world) if each["outcome"] != "committed"]
    told = next(each for each in failed["checks"] if "bench" in each["check"])
    assert (told["passed"], told["facts"]["stable"]) == (False, stable["full"])
    assert len(told["facts"]["worse"]) == 2, "it generates more slowly, and begins later"


def test_where_others_use_the_cores_it_is_said_who_and_nothing_is_compared(world: World) -> None:
    declare(world, "1", _AS_IT_IS)
    world.up()
    world.host.exec(["umount", "/proc/stat"])
    declare(world, "2", _SLOWED)

    with world.held(_BUSY, ""):
        world.up()

    assert served(world) == "2"
    told = measured(world)
    assert told["beside"][0].startswith("others used ")
    assert (told["worse"], "stable" in told) == ([], False)
