"""Making ours what the login account has shipped, so that nobody goes on writing to what is digested and named.

Until then that account, and whatever runs as it, may put there what it likes, links included. So nothing is reached by
a path: each folder is opened, made ours, and only then looked into; where the agent runs under sudo, nobody else adds
to it from then on. And whoever has opened a file to write to it, or has another name for it, goes on writing, whosever
it is by now: such a file is replaced by a copy. Where the login account is our own no mode holds it off; what it has
open is asked for again at the end (`close`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
from typing import List, NamedTuple, Sequence

from ..contract.failure import FAILED, REFUSED, Failure
from . import processes, sockets

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_FICLONE = 0x40049409  # ioctl_ficlone(2): a copy that shares its blocks until one of both is written to


class _Upload(NamedTuple):
    """What is being taken over."""

    folder: str
    shipper: int  # uid of the account that may write there until now
    told: bool  # the kernel tells whether a file there is open
    releases: Sequence[str]  # folders whose files it may have in common


def login() -> int:
    """The uid of the account that ships, which is another than ours where the agent runs under sudo."""
    uid = int(os.environ.get("SUDO_UID", "-1"))
    return uid if uid > 0 else os.geteuid()


def take_over(folder: str, releases: Sequence[str] = ()) -> int:
    """Make `folder` and everything in it ours; whose it was, or is to be again.

    A folder that is ours already may have been taken over, or given back, by half.

    Args:
        releases: folders of releases, from which rsync may have linked files of the same names.

    Raises:
        Failure: something in it is neither a folder, a link nor a file that was put there.
    """
    fd = os.open(folder, _FOLDER)
    try:
        before = os.fstat(fd).st_uid
        shipper = before if before != os.geteuid() else login()
        _take_folder(fd)
        upload = _Upload(folder, shipper, _tells(fd), releases)
        waiting = [folder]
        while waiting:
            waiting += _take(waiting.pop(), upload)  # all folders above it are ours by now
        return shipper
    finally:
        os.close(fd)


def _take_folder(fd: int) -> None:
    os.fchown(fd, os.geteuid(), os.getegid())
    os.fchmod(fd, 0o755)


def _take(folder: str, upload: _Upload) -> List[str]:
    """Make a folder and what is in it ours, but for the folders, which are told."""
    folders = []
    fd = os.open(folder, _FOLDER)
    try:
        _take_folder(fd)
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
                    _take_file(file, upload, place, fd)
                finally:
                    os.close(file)
            else:
                raise Failure(FAILED, f"{place} is neither a file, a folder nor a link.")
    finally:
        os.close(fd)
    return folders


def _take_file(fd: int, upload: _Upload, place: str, folder: int) -> None:
    found = os.fstat(fd)
    ours = found.st_uid == os.geteuid() and not found.st_mode & _WRITABLE
    if not ours and upload.shipper != os.geteuid() and found.st_uid != upload.shipper:
        raise Failure(FAILED, f"{place} is a file of another account, linked there.")
    if not ours:
        os.fchown(fd, os.geteuid(), os.getegid())
        os.fchmod(fd, stat.S_IMODE(found.st_mode) & 0o755)
    settled = _is_settled(fd) if upload.told else ours
    if not settled or found.st_nlink > 1 + _shared(found, upload, place):
        _replace(fd, folder, os.path.basename(place))


def _tells(folder: int) -> bool:
    """Whether the kernel tells here who has a file open: some file systems grant no lease, whoever asks (NFS)."""
    name = f".{os.urandom(8).hex()}.asked"
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        os.unlink(name, dir_fd=folder)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _is_settled(fd: int) -> bool:
    """Whether nobody has the file open for writing, or mapped so.

    The kernel grants a lease for reading on no other terms (fcntl(2), F_SETLEASE). Who opens it in that moment has a
    signal sent to us, which must be none that ends a process.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno != errno.EAGAIN
    return True


def _shared(found: os.stat_result, upload: _Upload, place: str) -> int:
    """How many releases have this very file at the same path."""
    path = place[len(upload.folder) + 1 :]
    shared = 0
    for release in upload.releases:
        try:
            shared += os.path.samestat(found, os.lstat(os.path.join(release, path)))
        except OSError:
            continue
    return shared


def _replace(fd: int, folder: int, name: str) -> None:
    """Put a file of our own, with the same bytes, in the place of one that others may still write to."""
    temporary = f".{os.urandom(8).hex()}.taken"
    to = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with os.fdopen(to, "wb") as copy:
            try:
                fcntl.ioctl(to, _FICLONE, fd)
            except OSError:  # this file system can't
                with os.fdopen(os.dup(fd), "rb") as original:
                    shutil.copyfileobj(original, copy, 1 << 20)
            found = os.fstat(fd)
            os.fchmod(to, stat.S_IMODE(found.st_mode))
            copy.flush()
            os.utime(to, ns=(found.st_atime_ns, found.st_mtime_ns))  # rsync compares it
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise


def close(folder: str) -> None:
    """Make everything in a folder of ours read-only.

    Raises:
        Failure: a program of our own account, or of root, opened something in it for writing since it was taken over.
    """
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        # rename(2) of a folder needs to write its `..`, so the folder itself stays writable for its owner.
        os.chmod(place, 0o755 if place == folder else 0o555)
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_symlink():
                    _close_file(entry.path)


def _close_file(place: str) -> None:
    fd = os.open(place, _FILE)
    try:
        found = os.fstat(fd)
        mode = 0o555 if found.st_mode & stat.S_IXUSR else 0o444
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(fd, mode)
        if not _is_settled(fd):
            _demand_no_writer(found, place)
    finally:
        os.close(fd)


def _demand_no_writer(file: os.stat_result, place: str) -> None:
    """Refuse where a process has the file open; where none has, this file system grants no leases."""
    for pid in processes.pids():
        if processes.writes(pid, file):
            raise Failure(
                REFUSED,
                f"{place} is open for writing by pid {pid} ({sockets.name(pid)}).",
                "What it writes would change a release after its digest was compared.",
                next_step=f"end that process on the host (kill {pid}), then: deploy up",
            )


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
