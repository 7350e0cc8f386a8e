"""A host without HAProxy is sent one: by content, once, before anything is disturbed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from provision import haproxy, rollout
from provision.cli.render.plan import plan_lines
from provision.errors import Refused
from tests.deploy.visitors import visitors
from tests.deploy.world import World
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root

_SHIP = f"  ship haproxy {haproxy.version()} ("


def bare(host: TestHost, place: Place, tmp_path: Path, platform: str = "supervisord", **target: object) -> World:
    """A world with traffic on a host from which HAProxy has gone."""
    host.exec(["rm", "/usr/sbin/haproxy"])
    path = place.path if host.user == "root" and "user_units" not in target else f"/home/ann/{place.name}"
    told = {"traffic": {}, "keep": 2, **target}
    return World(tmp_path / "project", host, platform, path, place.port(), place.name, target=told)


def phases(world: World) -> list[str]:
    return [event["phase"] for event in world.events if event["event"] == "phase" and event["state"] == "begin"]


def kept(world: World) -> list[str]:
    return world.host.exec(["ls", "-A", f"{world.path}/shared/haproxy"]).stdout.split()


def runs(world: World) -> str:
    """The program that stands before the others."""
    pid = world.host.read(f"{world.path}/.deploy/traffic/haproxy.pid").decode().strip()
    return world.host.exec(["readlink", f"/proc/{pid}/exe"]).stdout.strip()


def deploys_twice(
    world: World, ask: Callable[[str], str] | None = None, crowd: AbstractContextManager[object] | None = None
) -> None:
    world.web("1")
    world.up(ask=ask)
    assert world.version == "1"
    sent = phases(world)
    assert sent.index("haproxy") < sent.index("ship")
    (name,) = kept(world)
    assert runs(world) == f"{world.path}/shared/haproxy/{name}/haproxy"

    with crowd or visitors(world):
        world.web("2")
        world.up(ask=ask)
    assert world.version == "2"
    assert "haproxy" not in phases(world)
    assert kept(world) == [name]


def test_an_ordinary_account_is_served_through_the_one_that_is_sent_once(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    world = bare(make_host(Kind.BARE_USER), place, tmp_path)
    world.web("1")
    (planned,) = rollout.plan(world.deployment())
    assert any(line.startswith(_SHIP) for line in plan_lines(planned.host, planned.plan))

    deploys_twice(world, crowd=nullcontext())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.SUPERVISORD, Kind.SYSTEMD])
def test_root_is_sent_one_as_well(kind: Kind, make_host: MakeHost, place: Place, tmp_path: Path) -> None:
    deploys_twice(bare(make_host(kind), place, tmp_path, str(kind.value)))


@pytest.mark.slow
def test_so_are_units_of_an_account_s_own(make_host: MakeHost, place: Place, tmp_path: Path) -> None:
    world = bare(make_host(Kind.SYSTEMD, linger=True), place, tmp_path, "systemd", user_units=True)
    world.user = "ann"
    deploys_twice(world)


@pytest.mark.slow
def test_so_is_who_becomes_root_by_sudo(make_host: MakeHost, place: Place, tmp_path: Path) -> None:
    world = bare(make_host(Kind.SYSTEMD, sudo=True), place, tmp_path, "systemd", sudo=True)
    world.user = "ann"
    deploys_twice(world, lambda _: "annspassword")


@pytest.mark.slow
def test_one_that_has_gone_is_brought_again_and_one_that_nothing_needs_goes(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    world = bare(make_host(Kind.SUPERVISORD), place, tmp_path)
    world.web("1")
    world.up()
    (name,) = kept(world)
    world.host.exec(["rm", f"{world.path}/shared/haproxy/{name}/.complete"])
    world.host.exec(["mkdir", "-p", f"{world.path}/shared/haproxy/sha256-{'0' * 64}"])
    world.host.exec(["touch", "-d", "-8 days", f"{world.path}/shared/haproxy/sha256-{'0' * 64}"])
    with pytest.raises(Refused, match="has no HAProxy"):
        rollout.on_purpose(world.deployment(), "restart", ["web"])
    assert world.version == "1"

    world.up()
    assert "haproxy" in phases(world)
    assert kept(world) == [name]
    assert world.up().outcome == "unchanged"

    world.target["traffic"] = "none"
    for version in "23":
        world.web(version)
        world.up()
        assert world.version == version
    world.web("4")
    world.up()
    assert kept(world) == []
