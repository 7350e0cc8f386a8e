"""Laptops that die and lines that are cut: the host finishes alone, and what was uploaded is not sent again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import Unreachable
from provision.hosts import handshake, line
from tests.deploy.world import World
from tests.faults.hooks import at, in_background, laptop, slow, until
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root


def test_a_host_whose_laptop_died_finishes_alone_and_status_tells(world: World) -> None:
    world.web("1")
    world.up()
    slow(world, "2", 2)
    with laptop(world):
        pass

    assert world.status().state == "deploying"
    until(lambda: world.status().state == "serving", "the transaction ends")

    entry = world.status().project["history"][-1]
    assert world.version == "2"
    assert entry["outcome"] == "committed"
    assert world.stable == entry["channels"]["stable"]


@pytest.fixture
def far(make_host: MakeHost, platform: str, place: Place, tmp_path: Path) -> World:
    """A host of its own, whose line may be cut."""
    host = make_host(Kind(platform))
    return World(tmp_path / "project", host, platform, place.path, place.port(), place.name)


def test_a_host_finishes_though_its_line_is_cut(far: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "DEAD_PEER_MILLISECONDS", 1000)
    monkeypatch.setattr(handshake, "KEEPALIVE_SECONDS", 1)
    far.web("1")
    far.up()
    slow(far, "2", 2)

    at(far, far.host.cut, event="step", step="start")
    with in_background(far.up) as result:
        pass
    far.host.mend()

    assert isinstance(result[0], Unreachable)
    until(lambda: far.status().state == "serving", "the transaction ends")
    assert far.version == "2"
    assert far.up().outcome == "unchanged"


def test_an_upload_that_was_cut_is_taken_up_where_it_was(far: World) -> None:
    size = 120 << 20
    far.web("1")
    (far.folder / "big.bin").write_bytes(os.urandom(size))
    with laptop(far, event="progress", phase="ship") as process:
        far.host.cut()
        process.kill()
    far.host.mend()
    # The host holds the claim until it sees that the laptop is gone.
    until(lambda: rollout.unlock(far.deployment())[0]["outcome"] != "held", "the claim is free")
    kept = _number(far, f"du -sbc {far.path}/releases/.incoming-*/ | tail -n 1 | cut -f 1")
    before = _number(far, _RECEIVED)

    far.up()

    assert far.version == "1"
    assert kept > 1 << 20
    assert _number(far, _RECEIVED) - before < size - kept + (4 << 20)
    assert not far.host.exec(["sh", "-c", f"ls -d {far.path}/releases/.incoming-* 2>/dev/null || :"]).stdout


_RECEIVED = "cat /sys/class/net/eth0/statistics/rx_bytes"


def _number(world: World, command: str) -> int:
    return int(world.host.exec(["sh", "-c", command]).stdout)
