"""A rollout of a model is judged by the tokens a second that llama-server itself counts: real engines, some slowed.

Ten of them, on an idle machine of two cores, and the table of benchmarks/README.md:

    python -m pytest -s -m slow tests/deploy/test_tokens_judged.py -k ten
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
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
from tests.testbed.fixtures import Place

pytestmark = [pytest.mark.root, pytest.mark.native, pytest.mark.slow, pytest.mark.timeout(900)]

# Half of the time, or more, it stands still, and so takes at least twice as long for each token, by its own clock too.
_SLOWED = """build/bin/llama-server "$@" & engine=$!
trap 'kill -CONT $engine; kill $engine; wait $engine; exit 0' TERM
while kill -STOP $engine && sleep %s && kill -CONT $engine && sleep 0.05; do :; done"""
_HALF, _MOSTLY = "0.05", "0.7"  # the latter is told on a busy machine as well
_AS_IT_IS = 'exec build/bin/llama-server "$@"'

# Until standard input ends; each request is somebody else's, so that both lanes are asked. Says who answered how often.
_ASKING = """
import collections, http.client, json, random, sys, threading
over = threading.Event()
answered = collections.Counter()
def ask():
    while not over.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
        body = json.dumps({"prompt": "Hello", "n_predict": 200, "ignore_eos": True})
        connection.request("POST", "/completion", body, {"User-Agent": f"user {random.random()}"})
        answer = connection.getresponse()
        told = json.load(answer)
        assert answer.status == 200 and told["tokens_predicted"] == 200
        answered[told["model"]] += 1
        over.wait(0.1)
threads = [threading.Thread(target=ask) for _ in range(int(sys.argv[2]))]
for thread in threads: thread.start()
sys.stdin.read()
over.set()
for thread in threads: thread.join()
print(json.dumps(answered))
"""


def _with_an_engine(world: World) -> World:
    binary = llama_server(Path(__file__).parents[2])
    (world.folder / "build/bin").mkdir(parents=True)
    shutil.copy(binary, world.folder / "build/bin/llama-server")
    (world.folder / "models").mkdir()
    write_demo_model(world.folder / "models/model.gguf")
    return world


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(_with_an_engine(world))


@pytest.fixture
def other(world: World, tmp_path: Path) -> Iterator[World]:
    """Another project on the same host."""
    place = Place(int(world.name.removeprefix("place")) + 300)
    target = {"name_prefix": f"{place.name}-"}
    found = World(tmp_path / "other", world.host, world.platform, place.path, place.port(), place.name, target=target)
    yield from behind_a_front(_with_an_engine(found))


@contextmanager
def _asked(world: World, at_once: int = 2) -> Iterator[Counter[str]]:
    """Meanwhile there are so many who ask; who answered how often is there afterwards."""
    answered: Counter[str] = Counter()
    command = world.host.inside(["python3", "-c", _ASKING, str(world.port), str(at_once)])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield answered
        finally:
            told, _ = process.communicate()
    answered.update(json.loads(told))


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


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("platform", ["supervisord"])
def test_of_ten_real_ones_each_ends_as_it_should(world: World, other: World) -> None:
    """Two at a time, an equal one and one of half the speed: an engine each for two cores.

    Where the machine is busy with something else no word may be found in time. What is never found is the wrong one.
    """
    half, equal = Counter[str](), Counter[str]()
    for each in (world, other):
        _declare(each, "0", _AS_IT_IS)
        each.up()
    for number in map(str, range(1, 6)):
        for each, run in ((world, _SLOWED % _HALF), (other, _AS_IT_IS)):
            _declare(each, number, run)
            each.up("canary")
        with _asked(world, 1) as of_half, _asked(other, 1) as of_equal:
            for each in (world, other):
                rolling.begin(each, rolling.document(0.5, each=30.0, at_most=540.0, tokens_per_second=-0.2))
            records = [rolling.ended(each, 600.0) for each in (world, other)]
        for each, ends, record, answered in ((world, half, records[0], of_half), (other, equal, records[1], of_equal)):
            ends[record["status"]] += 1
            name = "half the tokens a second" if each is world else "equal"
            print(rolling.line(name, record, answered[number]), record["why"], flush=True)  # noqa: T201
            if record["status"] == "held":
                rolling.steer(each, "abort")
    assert half["promoted"] == equal["aborted"] == 0
    assert half["aborted"] + equal["promoted"] >= 8


@pytest.mark.parametrize("platform", ["docker"])
def test_a_canary_that_makes_fewer_of_stables_tokens_a_second_is_aborted_for_that(world: World) -> None:
    _declare(world, "1", _AS_IT_IS)
    world.up()
    stable = world.stable
    _declare(world, "2", _SLOWED % _MOSTLY)
    world.up("canary")
    with _asked(world):
        rolling.begin(world, rolling.document(0.5, each=30.0, at_most=600.0, tokens_per_second=-0.2))
        record = rolling.ended(world, 600.0)
        until(lambda: len(_paces(world)) == 2, "both lanes are counted")
        paces = _paces(world)
    print(record["why"], paces)  # noqa: T201
    assert record["status"] == "aborted"
    assert "of stable's tokens a second; 0.8 is the least" in record["why"]
    assert paces["canary"] / paces["stable"] < 0.8
    assert world.stable == stable


def _paces(world: World) -> dict[str, float]:
    lanes = rolling.traffic(world, 10)["services"]["llama"]["lanes"]
    return {
        name: lane["seen"]["tokens_per_second"] for name, lane in lanes.items() if "tokens_per_second" in lane["seen"]
    }
