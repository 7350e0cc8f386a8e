"""Locks that end with their holder.

flock(2) belongs to the open file: the kernel gives it back when the process ends, however it ends, so that no lock
is ever stale. Python opens files close-on-exec, so no child of ours holds one by accident.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import IO, Any, Dict, Optional, Set

from . import processes, protocol


class Lock:
    """An flock on a file that tells who holds it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._stream: Optional[IO[str]] = None

    def take(self, holder: Dict[str, Any], wait: float = 0.0) -> bool:
        """Take it within `wait` seconds and write down who has it; False where somebody else keeps it."""
        stream = open(self.path, "a+", encoding="utf-8")
        os.chmod(self.path, 0o600)
        until = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= until:
                    stream.close()
                    return False
                time.sleep(0.05)
        self._stream = stream
        try:
            stream.seek(0)
            stream.truncate()
            stream.write(json.dumps(dict(holder, pid=os.getpid(), since=int(time.time()))))
            stream.flush()
        except OSError:
            pass  # a full disk: the lock itself holds, only its label is missing
        return True

    @property
    def is_taken(self) -> bool:
        """Whether this object has it."""
        return self._stream is not None

    def fileno(self) -> int:
        """The open file: whoever has that too keeps the lock. Only while it is taken."""
        assert self._stream is not None  # noqa: S101  the caller took it
        return self._stream.fileno()

    def release(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def holder(self) -> Optional[Dict[str, Any]]:
        """Who holds it now, or None where it is free."""
        try:
            with open(self.path, encoding="utf-8") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    try:
                        return dict(json.loads(stream.read()))
                    except ValueError:
                        return {"who": "somebody", "pid": 0, "since": 0}
        except FileNotFoundError:
            pass
        return None

    def pids(self) -> Set[int]:
        """The processes that hold it, as the kernel tells (proc(5), /proc/PID/fdinfo).

        Its label names who took it. That process may have ended, while a child of it keeps the lock, and the number
        may be somebody else's by now.
        """
        return {pid for pid in processes.pids() if self._is_held_by(pid)}

    def _is_held_by(self, pid: int) -> bool:
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") == os.path.realpath(self.path):
                    with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii") as stream:
                        if any(line.startswith("lock:") and " WRITE " in line for line in stream):
                            return True
        except OSError:
            pass  # it ended meanwhile, or is another user's, who can't have our lock
        return False


def refuse(what: str, holder: Dict[str, Any]) -> protocol.AgentError:
    """The refusal that names the holder of a lock."""
    since = time.strftime("%H:%M:%S UTC", time.gmtime(holder.get("since", 0)))
    return protocol.AgentError(
        protocol.REFUSED,
        what,
        why="{} holds it since {} (pid {}, {}).".format(
            holder.get("who", "somebody"), since, holder.get("pid", "?"), holder.get("doing", "deploying")
        ),
        next_step="wait for it, follow it with: deploy logs --transaction, or end it with: deploy unlock",
        holder=holder,
    )
