"""What a supervisor is told does not grow with the programs that a project has."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.deploy.world import World, web

pytestmark = pytest.mark.root

_TOLD = "/tmp/told"
_SHIM = f'#!/bin/sh\necho "$*" >>{_TOLD}\nexec /usr/bin/systemctl "$@"\n'
_CHANGING = ("start", "stop", "reset-failed", "daemon-reload", "enable", "disable")


@pytest.fixture
def platform() -> str:
    return "systemd"


def told(world: World, count: int, version: str) -> Counter[str]:
    """What systemctl was called to do in a deploy of so many services, and how often."""
    services = {f"s{number}": {"command": ["sleep", "1000"], "env": {"VERSION": version}} for number in range(count)}
    world.host.exec(["rm", "-f", _TOLD])
    world.declare({**services, "web": web(world.port, version, switch="in-place")})
    world.up()
    words = world.host.read(_TOLD).decode().split()
    return Counter(word for word in words if word in _CHANGING)


def test_all_programs_are_started_and_stopped_with_one_word(world: World) -> None:
    world.host.write("/usr/local/bin/systemctl", _SHIM, mode=0o755)
    try:
        new, few = told(world, 2, "1"), told(world, 2, "2")
        more, many = told(world, 20, "3"), told(world, 20, "4")
        fewer = told(world, 1, "4")
    finally:
        world.host.exec(["rm", "-f", "/usr/local/bin/systemctl", _TOLD])

    assert few == many
    assert few["stop"] == 1
    assert more - new == Counter(stop=1), "new ones are started as many at once as old ones"
    assert fewer["stop"] == 1
