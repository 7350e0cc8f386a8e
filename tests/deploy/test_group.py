"""A project's systemd target: made by its first release, gone with its last program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.world import World, web
from tests.faults.hooks import until
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = pytest.mark.root


@pytest.fixture
def world(systemd_host: TestHost, place: Place, tmp_path: Path) -> World:
    return World(tmp_path / "project", systemd_host, "systemd", place.path, place.port(), place.name)


def state(world: World, *units: str) -> list[str]:
    return world.host.exec(["systemctl", "is-active", *units], check=False).stdout.split()


def test_a_whole_project_is_stopped_and_started_by_its_target(world: World) -> None:
    units = [world.program("web"), world.program("api")]
    group = f"{world.name}.target"
    both = {"web": web(world.port), "api": web(world.port + 1)}
    world.declare(both)
    world.up()
    assert state(world, group, *units) == ["active"] * 3
    assert world.host.exec(["systemctl", "is-enabled", group, *units]).stdout.split() == ["enabled"] * 3

    world.host.exec(["systemctl", "stop", group])
    until(lambda: state(world, *units) == ["inactive"] * 2, "its services have ended, after it")

    world.host.exec(["systemctl", "start", group])
    assert state(world, *units) == ["active"] * 2

    world.declare({"web": both["web"]})
    world.up()
    assert state(world, group) == ["active"]

    world.down()
    assert state(world, group) == ["inactive"]
    assert world.host.exec(["systemctl", "cat", group], check=False).returncode != 0
    assert world.host.exec(["sh", "-c", f"ls -d /etc/systemd/system/{group}* | cat"]).stdout == ""


def test_a_changed_program_costs_systemd_no_reading_of_every_unit_anew(world: World) -> None:
    def read() -> str:
        return world.host.exec(["systemctl", "show", "-p", "UnitsLoadTimestampMonotonic"]).stdout

    world.declare({"web": web(world.port)})
    world.up()
    before = read()

    world.declare({"web": web(world.port, "2")})
    world.up()

    assert read() == before
    world.host.exec(["systemctl", "daemon-reload"])
    assert read() != before


def test_a_program_that_somebody_disabled_starts_with_the_host_again_after_the_next_deploy(world: World) -> None:
    unit = world.program("web")
    world.declare({"web": web(world.port)})
    world.up()
    world.host.exec(["systemctl", "disable", unit])

    world.declare({"web": web(world.port, "2")})
    world.up()

    assert world.host.exec(["systemctl", "is-enabled", unit]).stdout.strip() == "enabled"
    assert unit in world.host.exec(["systemctl", "show", "-p", "Wants", f"{world.name}.target"]).stdout
