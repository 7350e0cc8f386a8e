"""HAProxy of a world is killed, and somebody asks a hundred times a second meanwhile."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from tests.deploy.world import World
from tests.faults.hooks import until

EVERY = 0.01  # seconds
_KNOCKING = Path(__file__).with_name("knocking.py").read_text()
_BEFORE, _AFTER = 0.5, 1.0  # seconds
_QUIET = 11.0  # seconds; who dies twice within ten is left to its supervisor, and an engine waits longer each time
VICTIMS = {
    "worker": 'kill -9 "$(pgrep -P "$master" | head -1)"',
    "master": 'kill -9 "$master"',
    "all of it": 'set -- $(cat "/proc/$master/stat"); kill -9 "-$5"',
}


class Met(NamedTuple):
    """What those met who asked."""

    requests: int
    failed: int
    why: list[str]
    seconds: float  # from the first that failed to the last
    longest: float


def killed(world: World, victim: str) -> Met:
    """Have it killed with no way to say goodbye, and wait until it serves again."""
    time.sleep(_QUIET)
    command = world.host.inside(["python3", "-c", _KNOCKING, str(world.port), str(EVERY)])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(_BEFORE)
            read = f"master=$(cat {world.path}/.deploy/traffic/haproxy.pid)"
            world.host.exec(["sh", "-ec", f"{read}; {VICTIMS[victim]}"])
            until(world.answers, "it serves again", 60)
            time.sleep(_AFTER)
        finally:
            told, _ = process.communicate()
    return Met(**json.loads(told))
