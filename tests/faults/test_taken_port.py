"""Somebody else takes the port between preflight and start, and answers checks there as the old release would."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from provision.errors import PutBack
from tests.deploy.world import World, web
from tests.faults.hooks import at, until

pytestmark = pytest.mark.root

_WAITS = ["sh", "-c", 'until python3 server.py "$1"; do sleep 0.05; done', "sh"]
_KNOCK = "python3 -c \"import socket; socket.create_connection(('127.0.0.1', $1))\" 2>/dev/null"
_LATE = ["sh", "-c", f'until {_KNOCK}; do sleep 0.05; done; exec python3 server.py "$1"', "sh"]


@contextlib.contextmanager
def thief(world: World) -> Iterator[Callable[[], None]]:
    """Waits for the port, and serves there as soon as it is free, until what this gives is called."""

    def end() -> None:
        for process in world.host.processes():
            if process.environ.get("VERSION") == "thief":
                world.host.kill(process.pid)

    folder = f"{world.path}/stable"
    script = f"cd {folder} && VERSION=thief exec setsid {' '.join(_WAITS[:2])} '{_WAITS[2]}' sh {world.port}"
    with subprocess.Popen(
        world.host.inside(["sh", "-c", script]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ):
        try:
            until(lambda: any(p.environ.get("VERSION") == "thief" for p in world.host.processes()), "the thief waits")
            yield end
        finally:
            end()


def test_a_program_that_dies_of_a_taken_port_is_not_proven_by_who_answers_there(world: World) -> None:
    # The old one waits for its port, so that it can be put back once the thief is gone; the new one comes late, so that
    # it is the thief who gets the port in between.
    world.declare({"web": web(world.port, "1", command=[*_WAITS, "${port}"], switch="in-place")})
    old = world.up().plan.release
    thefts: list[str] = []

    world.web("2", command=[*_LATE, "${port}"], switch="in-place")
    with thief(world) as end:

        def caught() -> None:
            thefts.append(world.version)
            end()

        at(world, caught, event="step", step="undo")
        with pytest.raises(PutBack) as failure:
            world.up()

    assert thefts == ["thief"]
    assert "exited with status" in failure.value.what or "is held by" in failure.value.what
    assert (world.version, world.stable) == ("1", old)
    assert world.status().state == "serving"
