"""Which processes belong to a sandbox, read from /proc; never by their names."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

MARKER = "DEPLOY_SANDBOX"
_GRACE_SECONDS = 12.0  # supervisord itself gives its programs ten, and takes its socket away after that
_KILL_SECONDS = 5.0


def start_time(pid: int) -> str:
    """When `pid` was started, in ticks since boot; empty when there is no such process (or only its remains).

    proc(5), /proc/pid/stat: the fields after the command's closing bracket; a number alone may be used again.
    """
    fields = _stat(pid)
    return "" if not fields or fields[0] in "ZX" else fields[19]


def descendants(ancestor: int) -> set[int]:
    """Every process below `ancestor`, itself not included."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        if (fields := _stat(pid)) and fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting.extend(below)
    return found


def marked(marker: str) -> set[int]:
    """Every process that was started with the sandbox's marker in its environment, and all below them."""
    wanted = f"{MARKER}={marker}".encode()
    found: set[int] = set()
    for pid in _pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if wanted in environment and start_time(pid):
            found |= {pid} | descendants(pid)
    return found - {os.getpid()}


def end_all(find: Callable[[], set[int]]) -> set[int]:
    """End what `find` finds until it finds nothing: ask, then kill. Returns what would not end."""
    for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
        deadline = time.monotonic() + seconds
        asked: set[int] = set()
        while (found := find()) and time.monotonic() < deadline:
            for pid in found - asked if number == signal.SIGTERM else found:
                try:
                    os.kill(pid, number)
                except (ProcessLookupError, PermissionError):
                    continue
            asked |= found
            for pid in found:
                reap(pid)
            time.sleep(0.02)
    return find()


def reap(pid: int) -> None:
    """Take note of the end of `pid` where it is our child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _pids() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
