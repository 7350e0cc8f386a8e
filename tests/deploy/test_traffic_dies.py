"""HAProxy dies, and is back before its supervisor has seen that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.killing import killed
from tests.deploy.visitors import behind_a_front, visitors
from tests.deploy.world import World

pytestmark = [pytest.mark.root, pytest.mark.slow]
_AT_ONCE = 1.0  # seconds; tens of milliseconds where nobody else works, and less than supervisors wait


@pytest.fixture(params=["supervisord", "systemd", "docker"])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


def test_haproxy_that_dies_is_back_in_milliseconds_as_it_was(world: World) -> None:
    for version in "12":
        world.web(version)
        world.up()
    program = world.pid("traffic")

    met = {victim: killed(world, victim) for victim in ("worker", "master")}

    print(met)  # noqa: T201
    assert max(each.seconds for each in met.values()) < _AT_ONCE
    assert world.pid("traffic") == program
    assert world.version == "2"
    assert world.up().plan.unchanged
    with visitors(world):
        world.web("3")
        world.up()
    assert killed(world, "all of it").requests
    assert world.version == "3"
    assert world.up().plan.unchanged
