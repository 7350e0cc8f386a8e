"""Somebody stops a rollout between what the keeper found and its promotion: what was said last holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import rolling
from tests.deploy.visitors import behind_a_front
from tests.deploy.world import World

# What a step's process does once it has let go of the lock under which it read the state.
_PROMOTES = """
import json, os, sys
root, agent, proposal = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sys.path.insert(0, f"{root}/.deploy/agents/{agent}")
sys.dont_write_bytecode = True
from deploy_agent.agent import rolling
from deploy_agent.contract.failure import Failure
from deploy_agent.contract.layout import Layout
try:
    rolling._promote(Layout(root), agent, "late", proposal, lambda _: None)
except Failure as failure:
    print(failure.kind, failure.what)
else:
    print("promoted")
"""


@pytest.fixture
def platform() -> str:
    return "supervisord"


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


def _promotes(world: World, proposal: dict[str, object]) -> str:
    script = Path(world.path, ".deploy/traffic/step")
    agent = world.host.exec(["sed", "-n", r"s|.*/agents/\([^/]*\)/.*|\1|p", str(script)]).stdout.strip()
    return world.host.exec(["python3", "-I", "-c", _PROMOTES, world.path, agent, json.dumps(proposal)]).stdout.strip()


def _proposal(world: World) -> dict[str, object]:
    record = rolling.record(world)
    step = {"id": record["id"], "step": record["step"], "began": record["began"]}
    return {**step, "move": "promote", "why": "fine.", "findings": []}


def test_a_promotion_that_is_refused_leaves_the_canary_held(world: World) -> None:
    world.web("1")
    world.up()
    world.web("2")
    world.up("canary")
    rolling.begin(world, rolling.document(0.5, each=600.0))
    document = f"{world.path}/releases/{world.state()['channels']['canary']}/release.json"
    world.host.exec(["sed", "-i", 's/"platform": *"supervisord"/"platform": "systemd"/', document])

    assert _promotes(world, _proposal(world)).startswith("refused release")

    assert rolling.record(world)["status"] == "held"
    assert "could not be promoted: release" in rolling.record(world)["why"]
    assert rolling.traffic(world)["services"]["web"]["lanes"]["canary"]["share"] == 0.5


def test_a_canary_that_somebody_has_just_stopped_is_not_promoted(world: World) -> None:
    world.web("1")
    world.up()
    world.web("2")
    world.up("canary")
    rolling.begin(world, rolling.document(0.5, each=600.0))
    proposal = _proposal(world)

    rolling.steer(world, "pause")
    assert "not at the step any more" in _promotes(world, proposal)
    assert rolling.record(world)["status"] == "paused"
    rolling.steer(world, "abort")
    assert "not at the step any more" in _promotes(world, proposal)

    assert rolling.record(world)["status"] == "aborted"
    assert world.state()["shares"] == {"canary": 0.0}
    assert world.version == "1"
