"""A card that has room for one model changes models without one error: requests wait, and are answered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision import errors
from provision.contract import held
from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.deploy.visitors import behind_a_front, visitors
from tests.deploy.world import World, web

pytestmark = [pytest.mark.root]
ONE = pytest.mark.parametrize("platform", ["supervisord"])  # who holds requests is HAProxy
_BEYOND = (
    1.0  # seconds that anybody may wait longer than what is told: a try a tenth of a second, and the answer itself
)


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


def model(world: World, version: str, loads: float, **more: Any) -> None:
    """Declare a llama-server that takes so long to load."""
    run = 'sleep "$0"; exec build/bin/llama-server "$@"'
    words = [
        "--model",
        "models/model.gguf",
        "--port",
        "${port}",
        "--alias",
        version,
        "--threads",
        "1",
        "--parallel",
        "4",
    ]
    llama = {
        "command": ["sh", "-c", run, str(loads), *words],
        "port": world.port,
        "switch": "in-place",
        "check": {"http": "/health", "timeout": f"{loads + 60:.0f}s", "interval": "100ms", "passes": 2},
        "drain": "30s",
    }
    world.declare({"llama": {**llama, **more}})


def _with_a_model(world: World) -> None:
    binary = llama_server(Path(__file__).parents[2])
    (world.folder / "build/bin").mkdir(parents=True)
    shutil.copy(binary, world.folder / "build/bin/llama-server")
    (world.folder / "models").mkdir()
    write_demo_model(world.folder / "models/model.gguf")


def _told(world: World, step: str) -> list[str]:
    return [event["detail"] for event in world.events if event["event"] == "step" and event["step"] == step]


@pytest.mark.native
@pytest.mark.parametrize(
    ("platform", "loads"),
    [
        ("supervisord", 1.0),
        pytest.param("supervisord", 8.0, marks=pytest.mark.slow),
        pytest.param("systemd", 8.0, marks=pytest.mark.slow),
    ],
)
def test_a_model_is_replaced_without_one_error_and_nobody_waits_for_more_than_is_told(
    world: World, loads: float
) -> None:
    _with_a_model(world)
    model(world, "1", loads=0)
    world.up()

    with visitors(world, streams=2, engine=True) as met:
        model(world, "2", loads)
        done = world.up()

    assert met["versions"][0] == "1"
    assert met["versions"][-1] == "2"
    (spent,) = done.held.values()
    assert loads <= spent["load"]
    assert spent["requests"] > 0
    assert spent["beyond"] == spent["late"] == 0
    assert loads <= met["longest"] <= held.seconds(spent) + _BEYOND
    (told,) = _told(world, "held")
    assert told == held.sentence(spent)
    for part in ("drain", "stop", "load", "proof"):
        assert f"{part} {spent[part]:.1f} s" in told  # type: ignore[literal-required]

    with visitors(world, streams=2, engine=True) as met:
        model(world, "broken", loads, check={"http": "/health", "status": [418], "timeout": f"{loads + 2:.0f}s"})
        with pytest.raises(errors.PutBack, match="The old release") as failed:
            world.up()

    assert "broken" not in met["versions"]
    assert met["versions"][-1] == "2"
    (spent,) = failed.value.details["held"].values()  # type: ignore[attr-defined]
    assert loads <= met["longest"] <= held.seconds(spent) + _BEYOND
    assert f"Users waited {held.seconds(spent):.1f} s." in failed.value.why


@ONE
def test_exactly_those_beyond_the_limit_are_sent_away_and_it_is_said_how_many(world: World) -> None:
    world.target["traffic"] = {"hold_requests": 2}
    world.web("1", switch="in-place")
    world.up()

    with visitors(world, short=4, streams=0, pause=0.05, may_be_sent_away=True) as met:
        world.declare({"web": _slow(world, "2", 2.0)})
        done = world.up()

    (spent,) = done.held.values()
    assert spent["requests"] == 2
    assert spent["beyond"] == met["away"] > 0
    assert spent["late"] == 0
    assert f"{met['away']} requests beyond hold_requests got 503" in _told(world, "held")[0]


@ONE
def test_who_has_waited_for_all_of_hold_is_sent_away_and_counted(world: World) -> None:
    world.target["traffic"] = {"hold": "1s"}
    world.web("1", switch="in-place")
    world.up()

    with visitors(world, short=2, streams=0, pause=0.05, may_be_sent_away=True) as met:
        world.declare({"web": _slow(world, "2", 3.0)})
        done = world.up()

    (spent,) = done.held.values()
    assert spent["late"] == met["away"] > 0
    assert spent["beyond"] == 0


def _slow(world: World, version: str, seconds: float) -> dict[str, Any]:
    run = ["sh", "-c", 'sleep "$0"; exec python3 server.py "$1"', str(seconds), "${port}"]
    return web(world.port, version, switch="in-place", command=run)
