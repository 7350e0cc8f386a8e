"""Doing something at a certain moment of a deploy."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from provision.errors import DeployError
from tests.deploy.world import World
from tests.testbed.processes import Process

Event = dict[str, Any]

_SLOW = ["sh", "-c", 'sleep "$2"; exec python3 server.py "$1"', "sh", "${port}"]
_LAPTOP = """\
import json, pathlib, sys
from provision import rollout
from provision.project import load
from provision.targets import Deployment
def show(event):
    print(json.dumps(event), flush=True)
rollout.up(Deployment(load(pathlib.Path(sys.argv[1]), environ={}, target="here"), "here", on_event=show))
"""


class _Watched(list[Event]):
    """Events as they come; calls back once at the first that is wanted."""

    def __init__(self, wanted: Event, action: Callable[[], object]) -> None:
        super().__init__()
        self._wanted = wanted
        self._action: Callable[[], object] | None = action

    def append(self, event: Event) -> None:
        super().append(event)
        if self._action is not None and all(event.get(key) == value for key, value in self._wanted.items()):
            action, self._action = self._action, None
            action()


def at(world: World, action: Callable[[], object], **wanted: Any) -> None:
    """During the next deploy of `world`, call `action` at the first event that has these values."""
    world.events = _Watched(wanted, action)


def worker(world: World) -> int:
    """The pid of the worker that holds the project's lock."""
    return int(json.loads(world.host.read(f"{world.path}/.deploy/lock"))["pid"])


def is_agent(process: Process) -> bool:
    return any('"deploy agent"' in word or "deploy_agent" in word for word in process.argv)


def is_worker(world: World, process: Process) -> bool:
    """Whether it has the project's lock: its label stays when it ends."""
    try:
        lock = Path(f"/proc/{world.host.init}/root{world.path}/.deploy/locks/lock")
        return is_agent(process) and process.pid == json.loads(lock.read_text())["pid"]
    except (OSError, ValueError):
        return False


def living_worker(world: World) -> Process | None:
    return next((each for each in world.host.processes() if is_worker(world, each)), None)


def until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.05)


def slow(world: World, version: str, seconds: float) -> None:
    """Declare a version that takes `seconds` to listen: as long its transaction is in the middle."""
    check = {"http": "/health", "timeout": "10m", "interval": "50ms"}
    world.web(version, command=[*_SLOW, str(seconds)], switch="in-place", check=check)


@contextmanager
def laptop(world: World, **wanted: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that deploys and has come to the first event that has these values; killed at the end, if not before.

    By default the first that starts a program.
    """
    wanted = wanted or {"event": "step", "step": "start"}
    command = [sys.executable, "-c", _LAPTOP, str(world.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                event = json.loads(line) if line.startswith("{") else {}
                if all(event.get(key) == value for key, value in wanted.items()):
                    break
            else:
                raise AssertionError("".join(said))
            yield process
        finally:
            process.kill()


@contextmanager
def in_background(deploy: Callable[[], object], seconds: float = 60) -> Iterator[list[object]]:
    """Deploy in a thread; the list then holds what it gave, or the error that it raised."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(deploy())
        except DeployError as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield result
    thread.join(seconds)
    assert not thread.is_alive(), "the deploy did not end"
