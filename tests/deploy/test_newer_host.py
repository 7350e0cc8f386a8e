"""A host that a later version has deployed to is left alone by an older laptop, which says how to be updated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provision import __version__
from provision.errors import Refused
from tests.deploy.world import World
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = pytest.mark.root

# What a later version may write: keys that we know, with another meaning; and ours that it dropped.
FUTURE: dict[str, Any] = {"format": 7, "version": "9.1.0", "programs": {"web": {"lanes": ["stable"]}}, "channels": []}


@pytest.fixture
def world(supervisord_host: TestHost, place: Place, tmp_path: Path) -> World:
    """A project that is up."""
    target = {"name_prefix": f"{place.name}-"}
    world = World(
        tmp_path / "project", supervisord_host, "supervisord", place.path, place.port(), place.name, target=target
    )
    world.web("1")
    world.up()
    return world


def kept(world: World) -> str:
    """Everything that a deploy changes, but for the agent that comes along."""
    paths = [f"{world.path}/.deploy/{name}" for name in ("state.json", "history", "run", "journal")]
    found = world.host.exec(["find", *paths, f"{world.path}/releases", "-printf", "%p %l %s %i\n"], check=False)
    return "\n".join(sorted(found.stdout.splitlines()))


@pytest.mark.parametrize("words", ["status", "history", "plan", "up", "promote", "rollback", "down"])
def test_a_state_of_the_future_refuses_the_older_laptop_by_name(world: World, words: str) -> None:
    pids = world.host.pids("server.py", str(world.port))
    world.host.write(f"{world.path}/.deploy/state.json", json.dumps(FUTURE))
    world.web("2")
    before = kept(world)

    with world.cli(words) as process:
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 4, said
    assert f"deploy 9.1.0 was here, and this is deploy {__version__}." in said
    assert "state.json has format 7; this version reads 6. Nothing was changed." in said
    assert "\nnext: git -C " in said
    assert "Traceback" not in said
    assert kept(world) == before
    assert world.version == "1"
    assert world.host.pids("server.py", str(world.port)) == pids


def test_the_version_that_deployed_is_written_down(world: World) -> None:
    assert world.state()["version"] == __version__


def test_a_state_without_a_version_as_earlier_ones_wrote_it_is_read_and_its_project_unchanged(world: World) -> None:
    state = world.state()
    del state["version"]
    world.host.write(f"{world.path}/.deploy/state.json", json.dumps(state))

    assert world.up().outcome == "unchanged"


def test_a_release_of_the_future_is_not_rolled_back_to(world: World) -> None:
    old = world.stable
    world.web("2")
    world.up()
    document = f"{world.path}/releases/{old}/release.json"
    future = {**json.loads(world.host.read(document)), "format": 7, "version": "9.1.0"}
    world.host.exec(["sh", "-c", 'chmod u+w "$1" "${1%/*}" && cat >"$1"', "sh", document], stdin=json.dumps(future))

    with pytest.raises(Refused, match=r"deploy 9\.1\.0 was here") as refusal:
        world.rollback()
    assert "has format 7" in refusal.value.why
    assert "this version reads 6" in refusal.value.why

    assert world.version == "2"


def test_a_transaction_of_the_future_whose_agent_is_gone_is_left_to_the_version_that_began_it(world: World) -> None:
    """Undoing it by what we read in its journal could put the host into a state that nobody meant."""
    begin = {"step": "begin", "agent": "gone", "kind": "up", "before": FUTURE, "after": FUTURE}
    world.host.write(f"{world.path}/.deploy/journal", json.dumps(begin) + "\n")
    world.web("2")
    before = kept(world)

    with pytest.raises(Refused, match=r"deploy 9\.1\.0 was here") as refusal:
        world.up()

    assert "journal has format 7" in refusal.value.why
    assert kept(world) == before
    assert world.version == "1"
