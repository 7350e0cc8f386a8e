"""Locks that end with their holder.

flock(2) belongs to the open file: the kernel gives it back when the process ends, however it ends, so that no lock
is ever stale. Python opens files close-on-exec, so no child of ours holds one by accident.

Whoever can open a file can lock it, and keep it for ever. So locks are made for this account alone, in a folder that
nobody else may enter. Where earlier versions had them a link leads there, so that both lock one and the same file.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import IO, TYPE_CHECKING, Dict, Optional, cast

from ..contract.failure import REFUSED, Failure
from . import files, processes, sockets, trust

if TYPE_CHECKING:
    from ..contract.holder import Holder

_FOLDER = "locks"
_FREE_AGAIN = 0.2  # seconds; who merely looks at a lock has it for a moment


class Lock:
    """An flock on a file that tells who holds it.

    Args:
        path: where earlier versions had it; it is in `locks` beside that.
    """

    def __init__(self, path: str) -> None:
        self._link = path
        self.path = os.path.join(os.path.dirname(path), _FOLDER, os.path.basename(path))
        self._stream: Optional[IO[str]] = None

    def take(self, holder: Holder, wait: float = 0.0) -> bool:
        """Take it within `wait` seconds and write down who has it; False where somebody else keeps it."""
        self._make()
        until = time.monotonic() + max(wait, _FREE_AGAIN)
        stream = self._open()
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_there(stream):
                    break
                stream.close()  # it was replaced meanwhile: who opens it now locks another one
                stream = self._open()
            except OSError:
                if time.monotonic() >= until:
                    stream.close()
                    if not self._is_kept_by_strangers():
                        return False
                    self._replace()
                    stream, until = self._open(), time.monotonic() + _FREE_AGAIN
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

    def holder(self) -> Optional[Holder]:
        """Who holds it now, or None where it is free."""
        try:
            with self._open(os.O_RDONLY) as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    try:
                        return cast("Holder", dict(json.loads(stream.read())))
                    except ValueError:
                        return {"who": "somebody", "pid": 0, "since": 0}
        except FileNotFoundError:
            pass
        return None

    def keeper(self) -> Optional[Holder]:
        """As `holder`; and who keeps it shared, which writes no label and yet keeps everybody else out."""
        found = self.holder()
        for pid, uid in () if found else self.holders().items():
            found = {"who": trust.account(uid), "doing": f"keeping it shared ({sockets.name(pid)})", "pid": pid}
        return found

    def holders(self) -> Dict[int, int]:
        """The processes that hold it, shared or not, and their accounts, as the kernel tells (proc(5), fdinfo).

        Its label names who took it. That process may have ended, while a child of it keeps the lock, and the number
        may be somebody else's by now.
        """
        try:
            lock = os.stat(self._present())
        except FileNotFoundError:
            return {}
        found = {}
        for pid in processes.pids():
            uid = _held_by(pid, lock)
            if uid is not None:
                found[pid] = uid
        return found

    def _is_kept_by_strangers(self) -> bool:
        """Whether it is accounts alone that have no business with it, and could open it before it was private."""
        accounts = set(self.holders().values())
        return bool(accounts) and not accounts & {0, os.geteuid()}

    def _is_there(self, stream: IO[str]) -> bool:
        try:
            return os.path.samestat(os.fstat(stream.fileno()), os.stat(self._present(), follow_symlinks=False))
        except FileNotFoundError:
            self._make()
            return False

    def _replace(self) -> None:
        temporary = files.temporary_of(self.path)
        files.discard(temporary)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.replace(temporary, self.path)

    def _present(self) -> str:
        """Where its file is; an earlier version may have made it."""
        return self.path if os.path.lexists(self.path) or os.path.islink(self._link) else self._link

    def _open(self, flags: int = os.O_RDWR) -> IO[str]:
        fd = os.open(self._present(), flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        return open(fd, "r" if flags == os.O_RDONLY else "r+", encoding="utf-8")

    def _make(self) -> None:
        folder = os.path.dirname(self.path)
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        target = os.path.join(_FOLDER, os.path.basename(self.path))
        try:
            os.symlink(target, self._link)
        except FileExistsError:
            if not os.path.islink(self._link):
                self._adopt(target)
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            with self._open(os.O_RDONLY) as stream:  # which no link leads elsewhere
                try:
                    os.fchmod(stream.fileno(), 0o600)
                except OSError as error:
                    raise OSError(error.errno, error.strerror, self.path) from None  # so that it is said where

    def _adopt(self, target: str) -> None:
        """Give the file of an earlier version, which may be locked now, its new place; its old name leads there."""
        try:
            os.link(self._link, self.path, follow_symlinks=False)
        except FileExistsError:
            pass
        files.point(self._link, target)


def _held_by(pid: int, lock: os.stat_result) -> Optional[int]:
    """The account of the process, if it holds `lock`."""
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            try:
                with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii", errors="replace") as stream:
                    locked = any(line.startswith("lock:") and " FLOCK " in line for line in stream)
                if locked and os.path.samestat(os.stat(f"/proc/{pid}/fd/{descriptor}"), lock):
                    return os.stat(f"/proc/{pid}").st_uid
            except FileNotFoundError:
                continue  # closed meanwhile
    except OSError:
        pass  # it ended meanwhile, or is another account's, and we are not root
    return None


def refuse(what: str, holder: Holder) -> Failure:
    """The refusal that names the holder of a lock."""
    since = time.strftime(" since %H:%M:%S UTC", time.gmtime(holder["since"])) if holder.get("since") else ""
    return Failure(
        REFUSED,
        what,
        why="{} holds it{} (pid {}, {}).".format(
            holder.get("who", "somebody"), since, holder.get("pid", "?"), holder.get("doing", "deploying")
        ),
        next_step="wait for it: deploy status says when it is over; or end it: deploy unlock",
        holder=holder,
    )
