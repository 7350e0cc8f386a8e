"""A tiny runtime, and ways to see what is left of a program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from bitnet.errors import InvalidInput
from bitnet.telemetry import Event


class PrintingRuntime:
    """Its model is Python: inference prints the prompt, a server prints "ready" and waits."""

    cpu_count = 2

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.environment = dict(environment or {})

    def run_inference(self, *, model: str, prompt: str, dry_run: bool, n_predict: int = 16) -> Sequence[str]:
        assert dry_run
        if not prompt:
            raise InvalidInput("the prompt is empty")
        return [sys.executable, "-S", "-c", "import sys; print(*sys.argv[1:])", model, prompt, str(n_predict)]

    async def run_server(self, *, model: str, dry_run: bool) -> Sequence[str]:
        assert dry_run
        return ["sh", "-c", "echo ready; exec sleep 60", model]


class Recording:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def only(self, name: str) -> Mapping[str, object]:
        (event,) = (event for event in self.events if event.name == name)
        return event.fields


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that init has not reaped yet does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


async def gone(pid: int, within: float = 3.0) -> bool:
    """Whether the process ends within some seconds."""
    deadline = time.monotonic() + within
    while alive(pid) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return not alive(pid)


async def appears(path: Path, within: float = 5.0) -> str:
    """The text of a file that a program is about to write."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if text := path.read_text():
                return text
        await asyncio.sleep(0.005)
    raise AssertionError(f"{path} was not written")


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counting, not walking


_OTHERS: set[int] = set()


def look_around() -> None:
    """Remember which processes belong to somebody else: a cluster, or multiprocessing."""
    _OTHERS.clear()
    _OTHERS.update(child.pid for child in psutil.Process().children(recursive=True))


def children() -> list[psutil.Process]:
    """Everything that this process started since it looked around and that still exists, zombies included."""
    return [child for child in psutil.Process().children(recursive=True) if child.pid not in _OTHERS]
