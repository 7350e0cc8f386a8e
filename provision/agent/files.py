"""Writes that are there whole or not at all, also after a power cut.

rename(2) replaces atomically; the data has to be on disk before the name is (fsync the file), and the name has to be
on disk before anything relies on it (fsync the directory).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import stat
from typing import Any, BinaryIO, List, Optional

_LARGEST_JSON = 8 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: str, mode: int = 0o755) -> None:
    """Make the folder, and those above it, where they are missing; somebody else may be about to do the same.

    Never with more rights than these: where a folder above has a default ACL, that counts in place of the umask.
    """
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            os.mkdir(folder, mode if folder == missing[0] else 0o755)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise
        sync_directory(os.path.dirname(folder))


def write(path: str, text: str, mode: int = 0o644, owner: Optional[int] = None) -> None:
    """Replace the file at `path` by `text`, durably. `owner` is a uid to give it to."""
    folder = os.path.dirname(path)
    temporary = temporary_of(path)
    discard(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if owner is not None:
                os.fchown(stream.fileno(), owner, -1)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        discard(temporary)
        raise
    sync_directory(folder)


def write_if_other(path: str, text: str, mode: int = 0o644) -> bool:
    """As `write`, in a folder that need not be there; whether the file said something else before."""
    meant = text.encode()
    try:
        with open_plain(path) as stream:
            if stream.read(len(meant) + 1) == meant:
                return False
    except FileNotFoundError:
        make_folder(os.path.dirname(path))
    except OSError:
        pass  # a link, or what is no file: it is replaced
    write(path, text, mode)
    return True


def temporary_of(path: str) -> str:
    """Where `path` is written before it has its name: one place a file, so that a killed writer leaves one at most."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")


def discard(path: str) -> None:
    """Remove a file or link that nothing relies on, if it is there."""
    if os.path.lexists(path):  # or unlink(2) says "read-only" of what is not there
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def write_json(path: str, value: Any, mode: int = 0o644) -> None:
    write(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", mode)


def open_plain(path: str) -> BinaryIO:
    """The file at `path`, to be read, in a folder that others may have filled: none that they linked there.

    Raises:
        OSError: it is none of ours, or no plain file, or the way to it leads through a link below the project's own.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        mine = found.st_uid in (0, os.geteuid())
        if not (stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and mine):
            raise OSError(errno.EPERM, "not a plain file of this account", path)
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def read_json(path: str) -> Any:
    """The value in the file, or None where there is no file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None


def read_plain_json(path: str, most: int = _LARGEST_JSON) -> object:
    """The value in the file, in a folder that others may have filled; None where it is none, or no file of ours."""
    try:
        with open_plain(path) as stream:
            found: object = json.loads(stream.read(most))
    except (OSError, ValueError, RecursionError):
        return None
    return found


def point(link: str, target: str) -> None:
    """Make `link` a symbolic link to `target`, replacing an older one in a single step."""
    temporary = temporary_of(link)
    discard(temporary)
    if read_link(link) == target:
        return
    os.symlink(target, temporary)
    os.replace(temporary, link)
    sync_directory(os.path.dirname(link))


def read_link(link: str) -> str:
    """Where `link` points, or empty where there is none."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def remove(path: str) -> None:
    """Remove a file or link, if it is there, durably."""
    if os.path.lexists(path):
        discard(path)
        sync_directory(os.path.dirname(path))


def remove_tree(path: str) -> None:
    """Remove a folder with read-only folders in it. Renamed first, so that a half-removed one is never mistaken."""
    doomed = os.path.join(os.path.dirname(path), ".trash-" + os.path.basename(path))
    if os.path.islink(doomed):
        os.unlink(doomed)
    elif os.path.isdir(doomed):
        _remove_now(doomed)
    if os.path.isdir(path) and not os.path.islink(path):
        os.rename(path, doomed)
        _remove_now(doomed)


def _remove_now(path: str) -> None:
    """Folders are emptied into the topmost one first, so that none is ever too deep for a path or for descriptors.

    Nothing is done by a path: who owns what is in it may put a link there meanwhile.
    """
    top = os.open(path, _FOLDER)
    try:
        waiting = _empty(top, top)
        while waiting:
            folder = waiting.pop()
            fd = os.open(folder, _FOLDER, dir_fd=top)
            try:
                waiting += _empty(fd, top)
            finally:
                os.close(fd)
            os.rmdir(folder, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)


def _empty(fd: int, top: int) -> List[str]:
    """Remove what is in a folder but for the folders, which are moved to `top`; what they are called there."""
    is_root = os.geteuid() == 0  # who needs no right to write
    if not is_root:
        os.fchmod(fd, 0o700)
    moved = []
    with os.scandir(fd) as found:
        entries = list(found)
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=fd)
            continue
        if not is_root:
            os.chmod(entry.name, 0o700, dir_fd=fd)  # to read it, and to move it
        name = entry.name if fd == top else f".{os.urandom(8).hex()}.trash"
        os.rename(entry.name, name, src_dir_fd=fd, dst_dir_fd=top)
        moved.append(name)
    return moved


def try_writing(folder: str, size: int) -> None:
    """Write `size` bytes into the folder, and take them back.

    Raises:
        OSError: there is no room, or nothing may be written.
    """
    try:
        # Without a name: a killed writer leaves nothing.
        fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
        path = os.path.join(folder, f".{os.getpid()}.tried.new")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)
    with os.fdopen(fd, "wb") as stream:
        stream.write(bytes(size))


def nearest(path: str) -> str:
    """`path`, or of the folders above it the first that is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def sync_filesystem(path: str) -> None:
    """Flush the file system that holds `path` (syncfs(2): one call instead of an fsync a file)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "syncfs"):
            os.sync()
        elif libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(fd)
