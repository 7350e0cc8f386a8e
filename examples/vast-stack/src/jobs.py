"""A queue of jobs in a folder: one file a job, moved from `waiting` over `running` to `done`.

A move within one file system happens wholly or not at all, so a job is taken once, and survives whoever took it.
"""

import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATES = ("waiting", "running", "done")


@dataclass(frozen=True)
class Queue:
    """The jobs of one kind of worker."""

    folder: Path

    @classmethod
    def of(cls, mode: str) -> "Queue":
        queue = cls(Path(os.environ.get("JOBS", "jobs")) / mode)
        for state in STATES:
            (queue.folder / state).mkdir(parents=True, exist_ok=True)
        return queue

    def add(self, job: dict[str, Any]) -> str:
        """Queue `job`; its name."""
        name = secrets.token_hex(8)
        unfinished = self.folder / f".{name}"
        unfinished.write_text(json.dumps(job))
        unfinished.rename(self.folder / "waiting" / name)
        return name

    def take(self, name: str = "*") -> tuple[str, dict[str, Any]] | None:
        """The oldest job that waits, or the one of that name; None where none does."""
        for file in sorted((self.folder / "waiting").glob(name), key=lambda file: file.stat().st_mtime_ns):
            try:
                taken = file.rename(self.folder / "running" / file.name)
            except FileNotFoundError:
                continue  # another worker was faster
            return file.name, json.loads(taken.read_text())
        return None

    def finish(self, name: str, result: dict[str, Any]) -> None:
        unfinished = self.folder / f".{name}"
        unfinished.write_text(json.dumps(result))
        unfinished.rename(self.folder / "done" / name)
        (self.folder / "running" / name).unlink()

    def put_back(self) -> None:
        """Let jobs of a worker that died wait again; for the only worker of this queue."""
        for file in (self.folder / "running").iterdir():
            file.rename(self.folder / "waiting" / file.name)

    def sizes(self) -> dict[str, int]:
        """How many jobs wait, and run."""
        return {state: sum(1 for _ in (self.folder / state).iterdir()) for state in ("waiting", "running")}

    def look(self, name: str) -> tuple[str, dict[str, Any]] | None:
        """The state of a job and what its file says."""
        if not re.fullmatch(r"[0-9a-f]{16}", name):
            return None
        for state in reversed(STATES):
            try:
                return state, json.loads((self.folder / state / name).read_text())
            except FileNotFoundError:
                continue
        return None
