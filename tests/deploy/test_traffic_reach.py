"""Checks and tunnels find the programs that have a lane, whichever slots those are in."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator

import pytest

from provision import rollout
from tests.deploy.visitors import behind_a_front
from tests.deploy.world import World


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


def _through(world: World, channel: str) -> str:
    """What answers at the end of a tunnel to a channel."""
    with world.cli("tunnel", "web", "--channel", channel, "--json") as tunnel:
        assert tunnel.stdout is not None
        told = (json.loads(line) for line in tunnel.stdout)
        url = next(each["url"] for each in told if each["event"] == "tunnel")
        with urllib.request.urlopen(url, timeout=10) as answer:
            version = str(json.load(answer)["version"])
        os.kill(tunnel.pid, signal.SIGINT)
        assert tunnel.wait(timeout=30) == 0
    return version


@pytest.mark.parametrize("platform", ["supervisord", pytest.param("systemd", marks=pytest.mark.slow)])
def test_a_lane_is_found_in_whichever_slot_it_is(world: World) -> None:
    world.target["traffic"] = {"metrics": world.port + 7}
    world.web("1")
    world.up()
    world.web("2")
    world.up()  # stable is in its second slot
    metrics = ["curl", "-fsS", f"http://127.0.0.1:{world.port + 7}/metrics"]
    assert f'haproxy_server_status{{proxy="web",server="{world.program("web", "2")}"' in world.host.exec(metrics).stdout
    with world.cli("tunnel", "web", "--channel", "canary") as refused:
        said, _ = refused.communicate(timeout=60)
    assert (refused.returncode, "canary has no program of web there" in said) == (4, True)
    world.web("3")
    reach = world.up("canary").reach

    assert (_through(world, "stable"), _through(world, "canary")) == ("2", "3")
    assert world.get(port=int(reach[0].url.rpartition(":")[2]))["version"] == "3"
    for channel in ("stable", "canary"):
        reports = rollout.smoke(world.deployment(), channel)
        assert reports
        assert all(each.outcome.passed for each in reports)
