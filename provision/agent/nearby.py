"""Unix sockets in a folder of ours, however long its path: that of a socket has no more than 107 bytes (unix(7))."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from typing import Iterator

_PEER = struct.Struct("3i")  # socket(7), SO_PEERCRED: pid, uid, gid


def listen(folder: str, name: str, most: int, owner: int = -1) -> socket.socket:
    """Listen there, for this account alone or `owner`; who listened before has no more guests.

    Args:
        most: how many may wait to be heard.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _open(folder) as place:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=place)
            before = os.umask(0o177)
            try:
                listener.bind(f"/proc/self/fd/{place}/{name}")
            finally:
                os.umask(before)
            os.chown(name, owner, -1, dir_fd=place, follow_symlinks=False)
        listener.listen(most)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(folder: str, name: str, seconds: float) -> socket.socket:
    """A connection to who listens there; it waits so long at most, then and for each answer.

    Raises:
        OSError: nobody does; FileNotFoundError and ConnectionRefusedError say that.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        with _open(folder) as place:
            # No link, which whoever may write there may have lead to somebody else's.
            there = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
            try:
                if not stat.S_ISSOCK(os.fstat(there).st_mode):
                    raise OSError(errno.ENOTSOCK, "no socket", os.path.join(folder, name))
                connection.connect(f"/proc/self/fd/{there}")
            finally:
                os.close(there)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _open(folder: str) -> Iterator[int]:
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield place
    finally:
        os.close(place)


def peer(connection: socket.socket) -> int:
    """The uid of who is at the other end, as the kernel says."""
    return int(_PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1])
