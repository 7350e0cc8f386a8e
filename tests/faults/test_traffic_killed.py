"""A worker that is killed while requests are on their way: users go on, and the host is put in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.visitors import visitors
from tests.deploy.world import World, web
from tests.faults.trial import Kill, rollback_to
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = [pytest.mark.root, pytest.mark.slow]

_ON_HOST = "/root/on_host.py"
# Each line of the journal after the first: about to be written, and written.
LINES = ["start beside", "hold", "stop what is held", "move", "commit"]
AT = [Kill(call, 1 + line, ("{private}/journal",)) for line in range(len(LINES)) for call in ("write", "fsync")]


@pytest.fixture
def world(platform: str, host: TestHost, place: Place, tmp_path: Path) -> Iterator[World]:
    target: dict[str, Any] = {"traffic": {}}
    if platform == "supervisord":
        target["name_prefix"] = f"{place.name}-"
    made = World(tmp_path / "project", host, platform, place.path, place.port(), place.name, target=target)
    made.host.write(_ON_HOST, Path(__file__).with_name("on_host.py").read_bytes())
    yield made
    made.down()


def test_killed_at_any_step_users_go_on_and_one_whole_release_serves(world: World) -> None:
    releases = {}
    for version in "21":
        _declare(world, version)
        releases[world.up().plan.release] = version
    seen = set()

    for kill in AT:
        old = releases[world.stable]
        new = {"1": "2", "2": "1"}[old]
        with visitors(world), visitors(world, port=world.port + 1, streams=0):
            tried = _killed_on_its_way_to(world, next(key for key, value in releases.items() if value == new), kill)

        assert tried["killed"], kill
        serves = releases[world.stable]
        seen.add(serves == new)
        assert {world.version, str(world.get(port=world.port + 1)["version"])} == {serves}, kill
        assert tried["after"]["journal"] is None
        assert not tried["after"]["litter"]
        programs = world.state()["programs"]
        assert sorted(each["service"] for each in programs.values()) == ["held", "keeper", "traffic", "web"], kill
        assert sorted(tried["after"]["known"]) == sorted(programs), kill
        _declare(world, serves)
        assert world.up().plan.unchanged, kill

    assert seen == {True, False}


def _declare(world: World, version: str) -> None:
    world.declare(
        {
            "web": web(world.port, version),
            "held": web(world.port + 1, version, switch="in-place"),
        }
    )


def _killed_on_its_way_to(world: World, release: str, kill: Kill) -> dict[str, Any]:
    request = {
        "root": world.path,
        "header": {"who": "fault test", "version": "", "project": world.name, "take_over": ""},
        "name": world.name,
        "platform": world.platform,
        "prefix": f"{world.name}-",
        "ports": [],
        "recover": True,
        "kill": kill.request({"private": f"{world.path}/.deploy"}),
        "transaction": rollback_to(release, world.platform),
    }
    ran = world.host.exec(["python3", "-I", _ON_HOST, "try"], stdin=json.dumps(request), timeout=300)
    return dict(json.loads(ran.stdout))
