"""What a transaction is about to do, written before it does it.

The file is there if and only if a transaction has begun and not ended. Its first line holds the state before and the
state after, whole; so putting back is "make the host what `before` says", and finishing is "make it what `after`
says", both of which may be repeated. The other lines say how far it got.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, List, NamedTuple, Optional, Set

from ..contract.layout import Layout
from . import files, stepped

if TYPE_CHECKING:
    from ..contract.records import Begin, Journaled, Line

BEGIN = "begin"
TOUCH = "touch"  # about to disturb a program that served before
COMMIT = "commit"  # everything is proven: from here only forward
TAKE = "take"  # about to stop what somebody else's configuration starts, as `taken` says
ONCE = "once"  # about to run a command that runs once a release
ONCE_ENDED = "once-ended"  # it ended, as `outcome` says; or is known to be done without having begun here
ONCE_UNDO = "once-undo"  # about to run what undoes it
ONCE_UNDONE = "once-undone"
TRAFFIC = "traffic"  # about to let requests come to other programs
UNDO = "undo"  # from here only back
DEGRADED = "degraded"  # putting back failed; the next transaction tries again


class Open(NamedTuple):
    """A transaction that has begun and not ended."""

    begin: Begin
    lines: List[Line]

    def told(self) -> Journaled:
        """What others may know of it."""
        begin = self.begin
        return {
            "begin": {
                "kind": begin["kind"],
                "who": begin["who"],
                "time": begin["time"],
                "transaction": begin["transaction"],
            },
            "step": self.lines[-1]["step"] if self.lines else BEGIN,
            "why": self.lines[-1].get("why", "") if self.lines else "",
        }

    def took(self, step: str) -> bool:
        return any(line["step"] == step for line in self.lines)

    @property
    def touched(self) -> Set[str]:
        """The programs that it may have disturbed."""
        return {name for line in self.lines for name in line.get("programs", ())}


class Journal:
    """The journal of one project."""

    def __init__(self, path: str) -> None:
        self.path = path

    def begin(self, record: Begin) -> None:
        """Start a journal, replacing that of a transaction whose undoing failed."""
        project = Layout(os.path.dirname(os.path.dirname(self.path)))
        with stepped.alone(project):
            stepped.forget(project)
            files.write(self.path, json.dumps(record, ensure_ascii=False) + "\n", 0o600)

    def add(self, line: Line) -> None:
        """Append a line and wait until it is on disk; where that fails, the journal is as it was."""
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND)
        size = os.fstat(fd).st_size
        try:
            text = (json.dumps(line, ensure_ascii=False) + "\n").encode()
            # A torn line of an earlier writer must not swallow this one.
            if size and os.pread(fd, 1, size - 1) != b"\n":
                text = b"\n" + text
            view = memoryview(text)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, size)  # a step that was not taken must not be read back
            raise
        finally:
            os.close(fd)

    def left_open(self) -> Optional[Open]:
        """What was written whole, or None where no transaction is open."""
        try:
            with open(self.path, "rb") as stream:
                lines = stream.read().split(b"\n")
        except FileNotFoundError:
            return None
        records = []
        for line in lines:
            try:
                records.append(json.loads(line))
            except ValueError:
                continue  # torn: its step was not begun
        return Open(records[0], records[1:])

    def end(self) -> None:
        files.remove(self.path)
