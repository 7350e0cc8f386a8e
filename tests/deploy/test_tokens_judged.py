"""A rollout of a model is judged by the tokens a second that llama-server itself counts: real engines, one slowed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.deploy import rolling
from tests.deploy.visitors import behind_a_front
from tests.deploy.world import World
from tests.faults.hooks import until

pytestmark = [pytest.mark.root, pytest.mark.native, pytest.mark.slow, pytest.mark.timeout(900)]

# Half of the time, or more, it stands still, and so takes at least twice as long for each token, by its own clock too.
_SLOWED = """build/bin/llama-server "$@" & engine=$!
trap 'kill -CONT $engine; kill $engine; wait $engine; exit 0' TERM
while kill -STOP $engine && sleep %s && kill -CONT $engine && sleep 0.05; do :; done"""
_AS_IT_IS = 'exec build/bin/llama-server "$@"'

# Until standard input ends; each request is somebody else's, so that both lanes are asked.
_ASKING = """
import http.client, json, random, sys, threading
over = threading.Event()
def ask():
    while not over.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
        body = json.dumps({"prompt": "Hello", "n_predict": 200, "ignore_eos": True})
        connection.request("POST", "/completion", body, {"User-Agent": f"user {random.random()}"})
        answer = connection.getresponse()
        assert answer.status == 200 and json.load(answer)["tokens_predicted"] == 200
        over.wait(0.1)
threads = [threading.Thread(target=ask) for _ in range(2)]
for thread in threads: thread.start()
sys.stdin.read()
over.set()
"""


@pytest.fixture
def world(world: World) -> Iterator[World]:
    binary = llama_server(Path(__file__).parents[2])
    (world.folder / "build/bin").mkdir(parents=True)
    shutil.copy(binary, world.folder / "build/bin/llama-server")
    (world.folder / "models").mkdir()
    write_demo_model(world.folder / "models/model.gguf")
    yield from behind_a_front(world)


@contextmanager
def _asked(world: World) -> Iterator[None]:
    command = world.host.inside(["python3", "-c", _ASKING, str(world.port)])
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.communicate()


def _declare(world: World, version: str, run: str) -> None:
    words = ["--model", "models/model.gguf", "--port", "${port}", "--alias", version, "--threads", "1", "--metrics"]
    llama = {
        "command": ["sh", "-c", run, "llama", *words],
        "port": world.port,
        "switch": "beside",
        "metrics": {"path": "/metrics", "busy": ["llamacpp:requests_processing"]},
        "check": {"http": "/health", "timeout": "60s", "interval": "100ms", "passes": 2},
    }
    world.declare({"llama": llama})


@pytest.mark.parametrize(
    ("platform", "still", "least"),
    [("supervisord", "0.05", 0.3), ("docker", "0.7", 0.0)],  # the latter is slow on a busy machine as well
)
def test_a_canary_that_makes_half_of_stables_tokens_a_second_is_aborted_for_that(
    world: World, still: str, least: float
) -> None:
    _declare(world, "1", _AS_IT_IS)
    world.up()
    stable = world.stable
    _declare(world, "2", _SLOWED % still)
    world.up("canary")
    with _asked(world):
        rolling.begin(world, rolling.document(0.5, each=30.0, at_most=600.0, tokens_per_second=-0.2))
        record = rolling.ended(world, 600.0)
        until(lambda: len(_paces(world)) == 2, "both lanes are counted")
        paces = _paces(world)
    print(record["why"], paces)  # noqa: T201
    assert record["status"] == "aborted"
    assert "of stable's tokens a second; 0.8 is the least" in record["why"]
    assert least < paces["canary"] / paces["stable"] < 0.8
    assert world.stable == stable


@pytest.mark.parametrize("platform", ["supervisord"])
def test_a_canary_that_makes_as_many_is_promoted(world: World) -> None:
    _declare(world, "1", _AS_IT_IS)
    world.up()
    _declare(world, "2", _AS_IT_IS)
    world.up("canary")
    canary = world.state()["channels"]["canary"]
    with _asked(world):
        rolling.begin(world, rolling.document(0.5, each=30.0, at_most=500.0, tokens_per_second=-0.4))
        record = rolling.ended(world, 600.0)  # both are slow on a busy machine, and never the same
        paces = _paces(world)
    print(record["why"], paces)  # noqa: T201
    assert record["status"] == "promoted"
    assert world.stable == canary


def _paces(world: World) -> dict[str, float]:
    lanes = rolling.traffic(world, 10)["services"]["llama"]["lanes"]
    return {
        name: lane["seen"]["tokens_per_second"] for name, lane in lanes.items() if "tokens_per_second" in lane["seen"]
    }
