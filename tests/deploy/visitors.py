"""Users of a world that never stop."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.deploy.world import World

_VISITOR = Path(__file__).with_name("visitor.py").read_text()
_CROWD = Path(__file__).with_name("crowd.py").read_text()


def behind_a_front(world: World) -> Iterator[World]:
    """The world with traffic declared; it is brought down afterwards, or each would leave a HAProxy."""
    world.target["traffic"] = {}
    yield world
    world.down()


@contextmanager
def visitors(
    world: World, short: int = 3, streams: int = 3, port: int = 0, may_be_sent_away: bool = False, **more: Any
) -> Iterator[dict[str, Any]]:
    """While they come to a declared port; what they met is there afterwards, and none of them met a failure.

    Args:
        may_be_sent_away: whether some may get a 503 that says when to come again.
        more: `pause`, `seconds` of a stream, `least`, `engine`, `name`, `tls`; as visitor.py says.
    """
    met: dict[str, Any] = {}
    wanted: dict[str, Any] = {"port": port or world.port, "short": short, "streams": streams}
    wanted = {**wanted, "pause": 0.01, "seconds": 1.0, "least": 1, "engine": False, "name": "", "tls": False, **more}
    command = world.host.inside(["python3", "-c", _VISITOR])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(wanted) + "\n")
        process.stdin.flush()
        try:
            yield met
            told, _ = process.communicate()
        except BaseException:
            process.communicate("enough\n")
            raise
    met.update(json.loads(told))
    assert not met["failed"], met
    assert met["requests"]
    assert may_be_sent_away or not met["away"], met


@contextmanager
def crowd(world: World, threads: int = 4, pause: float = 0.005, port: int = 0) -> Iterator[dict[str, Any]]:
    """While many come, each once; what they met is there afterwards. An error is an answer, and all were answered."""
    met: dict[str, Any] = {}
    command = world.host.inside(["python3", "-c", _CROWD, str(port or world.port), str(threads), str(pause)])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield met
        finally:
            told, _ = process.communicate()
    met.update(json.loads(told))
    assert not met["failed"], met
    assert met["requests"]
