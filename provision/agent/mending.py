"""The steps of a mending: where it may begin, and how what is not ours is closed or moved, never followed."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
import tempfile
import time
from typing import TYPE_CHECKING, Dict, List

from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import guard, trust
from .folders import host_folder

if TYPE_CHECKING:
    from ..contract.events import Emit, Event

_TIGHT = 0o7755
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Mending:
    """What one mending does, noted as it goes."""

    def __init__(self, layout: Layout, emit: Emit) -> None:
        self.layout = layout
        self.closed: List[str] = []  # others could write there, and no longer can
        self.doomed: List[str] = []  # what is to be set aside, once what uses it has ended
        self.aside: Dict[str, str] = {}  # what was there -> where it is now
        self._folders: Dict[str, str] = {}
        self._emit = emit
        self._when = time.strftime("%Y%m%dT%H%M%S", time.gmtime())

    def emit(self, message: Event) -> None:
        """Tell it, if anybody listens: what has begun goes on either way."""
        with contextlib.suppress(OSError):
            self._emit(message)

    def close(self, path: str) -> None:
        """Take the right to write from everybody else; what is another's account's is ours from now on."""
        fd = os.open(path, _FOLDER)
        try:
            found = os.fstat(fd)
            if found.st_uid not in (0, os.geteuid()):
                os.fchown(fd, os.geteuid(), os.getegid())
            os.fchmod(fd, stat.S_IMODE(found.st_mode) & _TIGHT)
        except PermissionError:
            raise _by_hand(path, "is not this account's to close") from None
        finally:
            os.close(fd)
        self.closed.append(path)
        self._step("closed to others", path)

    def stays(self, path: str) -> bool:
        """Whether neither it nor a folder above it is to be set aside."""
        return not any(path == doomed or path.startswith(doomed + "/") for doomed in self.doomed)

    def set_aside(self, path: str) -> None:
        """Move away what is at `path`, whatever it is.

        Raises:
            Failure: it can't be moved.
        """
        base = host_folder() if path.startswith(host_folder() + "/") else self.layout.root
        # Of a name that nobody can have guessed: others could write there until now.
        folder = self._folders.get(base) or tempfile.mkdtemp(prefix=f"set-aside-{self._when}-", dir=base)
        self._folders[base] = folder
        near = os.path.join(os.path.dirname(path), f".{os.path.basename(folder)}-{os.path.basename(path)}")
        place = os.path.join(folder, path[len(base) + 1 :].replace("/", "-"))
        try:
            os.rename(path, place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise _by_hand(path, f"can't be set aside ({error.strerror})") from None
            place = near  # the folder that it lies in is on a file system of its own
            try:
                os.rename(path, place)
            except OSError as again:
                raise _by_hand(path, f"can't be set aside ({again.strerror})") from None
        self.aside[path] = place
        self._step("set aside", f"{path} as {place}")

    def _step(self, step: str, detail: str) -> None:
        self.emit({"event": "step", "step": step, "program": "", "detail": detail})


def way(layout: Layout, path: str) -> List[str]:
    """What is to be closed on the way down to a folder of ours: itself, or nothing.

    Raises:
        Failure: it is another's, or what is above it is not ours alone, which is not this project's to change.
    """
    for _ in range(path.count("/") + 1):
        found = trust.fault(path)
        if found is None:
            return []
        if os.path.lexists(found.path) and is_ours(found.path):
            if found.path == os.path.realpath(path):
                return [found.path]
            if trust.own(found.path) is None:
                # A folder like /tmp that everybody may add to: there it has to be before anybody else is.
                _begin(layout, path, found)
                continue
        break
    assert found is not None  # noqa: S101
    raise guard.refusal(layout.root, found)


def _begin(layout: Layout, path: str, found: trust.Fault) -> None:
    below = (
        path[len(found.path.rstrip("/")) + 1 :].split("/")[0] if path.startswith(found.path.rstrip("/") + "/") else ""
    )
    if not below:
        raise guard.refusal(layout.root, found)
    try:
        os.mkdir(os.path.join(found.path, below), 0o755)
    except OSError:
        raise guard.refusal(layout.root, found) from None


def mark(layout: Layout) -> None:
    """Note that the folder is being mended, so that nothing there is believed should that be cut off.

    Others may still write there: only what is no link is entered. Where their folder is in the way, nothing there is
    believed anyhow, until it is moved at the very end.
    """
    try:
        root = os.open(os.path.realpath(layout.root), _FOLDER)
    except FileNotFoundError:
        return
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(".deploy", 0o711, dir_fd=root)
        private = os.open(".deploy", _FOLDER, dir_fd=root)
    except OSError:
        return
    finally:
        os.close(root)
    name = os.path.basename(layout.mending)
    try:
        if os.fstat(private).st_uid == os.geteuid():
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=private)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=private))
            os.fsync(private)
    finally:
        os.close(private)


def is_ours(path: str) -> bool:
    return os.lstat(path).st_uid in (0, os.geteuid())


def demand_movable(path: str) -> None:
    homes = [os.path.normpath(account.pw_dir) for account in pwd.getpwall() if account.pw_dir]
    if any(home == path or home.startswith(path + "/") for home in homes):
        raise _by_hand(path, "is an account's home, and stays where it is")
    if os.path.ismount(path):
        raise _by_hand(path, "is a mount, and can't be set aside")


def _by_hand(path: str, why: str) -> Failure:
    found = os.lstat(path)
    return Failure(
        REFUSED,
        f"{path} belongs to {trust.account(found.st_uid)} (mode {stat.S_IMODE(found.st_mode):04o}), and {why}.",
        why="What is below it is not believed before it is ours alone.",
        next_step=f"look at what lies there, and by hand: chown -h {trust.account(os.geteuid())} {path}; "
        f"chmod go-w {path}; then deploy host mend",
    )
