"""What commands that change hosts told while they ran, kept by this user's machine: shown live, and as their record.

A file a command, a line of JSON an event: when it came, the event as `--json` prints it, and its sentence. It can hold
no secret that `--json` would not show. Who writes holds a lock on it, so one whose writer was killed is known. A
folder that can't be written keeps nothing, and hinders no deploy.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from provision.caches import state
from provision.shown import json_line

Event = Mapping[str, Any]

_KEPT = 100  # of each project
_LONGEST_SECONDS = 180 * 86400.0  # that they stay after the last one of the project
_LARGEST = 4 << 20  # bytes of one; what comes later is left out but for its end
_APART_SECONDS = 0.2  # between two lines of one progress
_SUFFIX = ".jsonl"


def folder(root: Path) -> Path:
    """Where those of the project in `root` are."""
    name = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return state() / "runs" / name


class Recorder:
    """Writes one; `with` it ends."""

    def __init__(self, root: Path, command: str, target: str, who: str) -> None:
        self._file: int | None = None
        self._size = 0
        self._told: dict[tuple[str, ...], float] = {}
        with contextlib.suppress(OSError, RuntimeError):  # of the second kind: nobody knows this user's home
            place = folder(root)
            path = place / f"{time.time_ns() // 1_000_000:013d}-{os.getpid()}{_SUFFIX}"
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for old in sorted(place.glob(f"*{_SUFFIX}"))[:-_KEPT]:
                old.unlink()
            for other in place.parent.iterdir():  # of a project that nobody deploys any more
                if time.time() - other.stat().st_mtime > _LONGEST_SECONDS:
                    shutil.rmtree(other, ignore_errors=True)
        self._write({"event": "begin", "command": command, "target": target, "who": who}, "")

    def event(self, event: Event, text: str) -> None:
        """One event, and its sentence or nothing."""
        if self._size > _LARGEST or (event.get("event") == "progress" and not self._is_due(event)):
            return
        self._write(event, text)

    def end(self, code: int, error: Event | None = None) -> None:
        """It is over."""
        if error:
            self._write({"event": "error", **error}, "")
        self._write({"event": "end", "exit": code}, "")
        self.close()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _is_due(self, event: Event) -> bool:
        of, now = tuple(str(event.get(key) or "") for key in ("host", "phase", "file")), time.monotonic()
        if event.get("done") != event.get("total") and now - self._told.get(of, 0.0) < _APART_SECONDS:
            return False
        self._told[of] = now
        return True

    def _write(self, event: Event, text: str) -> None:
        if self._file is None:
            return
        line = json_line({"at": round(time.time(), 3), "text": text, **event}).encode("utf-8", "replace") + b"\n"
        with contextlib.suppress(OSError):  # a full disk
            self._size += os.write(self._file, line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Run:
    """One command, as far as it has been written down."""

    id: str
    command: str = ""
    target: str = ""
    who: str = ""
    began: float = 0.0
    ended: float = 0.0  # 0: it goes on, or was killed
    exit: int | None = None
    running: bool = False
    events: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def releases(self) -> list[str]:
        """What it was about, as its events name it."""
        return [*dict.fromkeys(str(each["release"]) for each in self.events if each.get("release"))]

    @property
    def outcome(self) -> str:
        """One word or two."""
        if self.running:
            return "running"
        if self.exit is None:
            return "cut short"
        return _OUTCOMES.get(self.exit, "failed")


_OUTCOMES = {0: "done", 1: "put back", 3: "some hosts failed", 4: "refused", 5: "degraded", 130: "interrupted"}


def runs(root: Path) -> Iterator[Run]:
    """Those of the project in `root`, the newest first."""
    with contextlib.suppress(OSError, RuntimeError):
        for path in sorted(folder(root).glob(f"*{_SUFFIX}"), reverse=True):
            if run := Reading(path).run():
                yield run


def reading(root: Path, id_: str) -> Reading | None:
    """One of them, to be looked at again; None where that is no id."""
    return Reading(folder(root) / f"{id_}{_SUFFIX}") if id_.replace("-", "").isdigit() else None


def run(root: Path, id_: str) -> Run | None:
    """One of them; None where there is none of that id."""
    found = reading(root, id_)
    return found.run() if found else None


def of_process(root: Path, pid: int, since: float) -> str:
    """The id of what a process began after `since`; empty while there is none."""
    with contextlib.suppress(OSError, RuntimeError):
        for path in folder(root).glob(f"*-{pid}{_SUFFIX}"):
            if int(path.name.partition("-")[0]) >= since * 1000 - 1:
                return path.name[: -len(_SUFFIX)]
    return ""


def mark(root: Path) -> tuple[tuple[str, int], ...]:
    """What changes when any of them does: names and sizes."""
    with contextlib.suppress(OSError, RuntimeError), os.scandir(folder(root)) as entries:
        return tuple(sorted((entry.name, entry.stat().st_size) for entry in entries))
    return ()


class Reading:
    """One of them, looked at again and again while it grows: each line is read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = 0  # bytes
        self._events: list[Event] = []

    @property
    def size(self) -> int:
        """What changes when it does: 0 where there is none."""
        with contextlib.suppress(OSError):
            return self._path.stat().st_size
        return 0

    def run(self) -> Run | None:
        """As it is now; None where there is none."""
        try:
            with self._path.open("rb") as file:
                running = _is_locked(file.fileno())  # before it is read: who is done by now wrote all that is to come
                file.seek(self._taken)
                whole, newline, _ = file.read(2 * _LARGEST - self._taken).rpartition(b"\n")
        except OSError:
            return None
        self._taken += len(whole + newline)
        self._events += [each for line in whole.split(b"\n") if (each := _event(line))]
        if not self._events or self._events[0]["event"] != "begin":
            return None
        begin, last = self._events[0], self._events[-1]
        over = last["event"] == "end"
        return Run(
            id=self._path.name[: -len(_SUFFIX)],
            command=str(begin.get("command", "")),
            target=str(begin.get("target", "")),
            who=str(begin.get("who", "")),
            began=begin["at"],
            ended=last["at"] if over else 0.0,
            exit=last.get("exit") if over else None,
            running=running and not over,
            events=tuple(self._events[1:]),
        )


def _event(line: bytes) -> dict[str, Any] | None:
    """None for one that a full disk cut off, say."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    is_one = isinstance(value, dict) and isinstance(value.get("event"), str) and isinstance(value.get("at"), float)
    return value if is_one else None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
