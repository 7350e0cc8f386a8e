"""Making ours what the login account has shipped, where the agent runs under sudo.

Until then that account, and whatever runs as it, may put there what it likes, links included. So nothing is reached by
a path: each folder is opened, made ours, and only then looked into; from then on nobody else adds to it. And whoever
has opened a file to write to it goes on writing, whosever it is by now: so nobody may have.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from typing import List

from ..contract.failure import FAILED, Failure

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_WRITER_SECONDS = 2.0  # rsync's receiver may just be closing it
_BLOCK = 1 << 20


def login() -> int:
    """The uid of the account that ships, which is another than ours where the agent runs under sudo."""
    uid = int(os.environ.get("SUDO_UID", "-1"))
    return uid if uid > 0 else os.geteuid()


def take_over(folder: str) -> int:
    """Make `folder` and everything in it ours; whose it was, or is to be again.

    A folder that is ours already may have been taken over, or given back, by half.

    Raises:
        Failure: something in it is neither a folder, a link nor a file that was put there, or is still written to.
    """
    fd = os.open(folder, _FOLDER)
    try:
        before = os.fstat(fd).st_uid
        shipper = before if before != os.geteuid() else login()
        if shipper != os.geteuid():
            waiting = [folder]
            while waiting:
                waiting += _take(waiting.pop(), shipper)  # all folders above it are ours by now
        return shipper
    finally:
        os.close(fd)


def _take(folder: str, shipper: int) -> List[str]:
    """Make a folder and what is in it ours, but for the folders, which are told."""
    folders = []
    fd = os.open(folder, _FOLDER)
    try:
        os.fchown(fd, os.geteuid(), os.getegid())
        os.fchmod(fd, 0o755)
        for name in os.listdir(fd):
            place = os.path.join(folder, name)
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                folders.append(place)
            elif stat.S_ISLNK(mode):
                os.chown(name, os.geteuid(), os.getegid(), dir_fd=fd, follow_symlinks=False)
            elif stat.S_ISREG(mode):
                file = os.open(name, _FILE, dir_fd=fd)
                try:
                    _take_file(file, shipper, place, fd)
                finally:
                    os.close(file)
            else:
                raise Failure(FAILED, f"{place} is neither a file, a folder nor a link.")
    finally:
        os.close(fd)
    return folders


def _take_file(fd: int, shipper: int, place: str, folder: int) -> None:
    found = os.fstat(fd)
    if found.st_uid == os.geteuid() and not found.st_mode & _WRITABLE:
        return  # rsync linked it to that of the last release
    if found.st_uid != shipper:
        raise Failure(FAILED, f"{place} is a file of another account, linked there.")
    os.fchown(fd, os.geteuid(), os.getegid())
    os.fchmod(fd, stat.S_IMODE(found.st_mode) & 0o755)
    if not _is_settled(fd, place):
        _replace(fd, folder, os.path.basename(place))


def _is_settled(fd: int, place: str) -> bool:
    """Whether nobody has the file open for writing, nor can open it any more; False where the kernel can't tell.

    It grants a lease for reading on no other terms (fcntl(2), F_SETLEASE).
    """
    until = time.monotonic() + _WRITER_SECONDS
    while True:
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                return False  # this file system has no leases
        else:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            return True
        if time.monotonic() > until:
            raise Failure(
                FAILED,
                f"{place} is still open for writing by a process of the account that shipped it.",
                "What is written after its digest was compared would be run.",
                next_step="end that process there, then: deploy up",
            )
        time.sleep(0.02)


def _replace(fd: int, folder: int, name: str) -> None:
    """Put a file of our own, with the same bytes, in the place of one that others may still write to."""
    temporary = f".{os.urandom(8).hex()}.taken"
    to = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with os.fdopen(to, "wb") as copy:
            for block in iter(lambda: os.read(fd, _BLOCK), b""):
                copy.write(block)
            found = os.fstat(fd)
            os.fchmod(copy.fileno(), stat.S_IMODE(found.st_mode))
            copy.flush()
            os.utime(copy.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))  # rsync compares it
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise


def give_back(folder: str, uid: int) -> None:
    """Let the account `uid` write there again, so that it can ship what differs; what is its already stays as it is."""
    if uid == os.geteuid():
        return
    waiting, ours = [folder], []
    while waiting:
        place = waiting.pop()
        if os.lstat(place).st_uid == os.geteuid():
            with os.scandir(place) as found:
                waiting += [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]
            ours.append(place)
    # From the leaves up: in a folder that is given back nothing is done any more, so nothing planted there is followed.
    for place in reversed(ours):
        fd = os.open(place, _FOLDER)
        try:
            for name in os.listdir(fd):
                seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if not stat.S_ISDIR(seen.st_mode) and seen.st_nlink == 1:
                    os.chown(name, uid, -1, dir_fd=fd, follow_symlinks=False)
            os.fchown(fd, uid, -1)
        finally:
            os.close(fd)
