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


def behind_a_front(world: World) -> Iterator[World]:
    """The world with traffic declared; it is brought down afterwards, or each would leave a HAProxy."""
    world.target["traffic"] = {}
    yield world
    world.down()


@contextmanager
def visitors(world: World, short: int = 3, streams: int = 3, port: int = 0) -> Iterator[dict[str, Any]]:
    """While they come to a declared port; what they met is there afterwards, and none of them met a failure."""
    met: dict[str, Any] = {}
    words = ["python3", "-c", _VISITOR, str(port or world.port), str(short), str(streams)]
    command = world.host.inside(words)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield met
        finally:
            told, _ = process.communicate()
    met.update(json.loads(told))
    assert not met["failed"], met
    assert met["requests"]
