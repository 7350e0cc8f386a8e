"""HTTP over a unix socket, as supervisord and the Docker Engine speak it."""

from __future__ import annotations

import http.client
import os
import socket

from ...contract.failure import REFUSED, Failure
from ..sockets import Bounded

_CONNECT_SECONDS = 5.0


class UnixConnection(http.client.HTTPConnection):
    """A connection to who listens at `path`.

    Args:
        own: whether the socket has to be this account's; `connect` raises Failure where it is not.
    """

    def __init__(self, path: str, seconds: float, own: bool = False) -> None:
        super().__init__("localhost", timeout=seconds)
        self.response_class = Bounded
        self._path = path
        self._seconds = seconds
        self._own = own

    def connect(self) -> None:
        self.sock = _connected(self._path, self._seconds, self._own)


def is_listening(path: str, own: bool = False) -> bool:
    """Whether somebody listens there, be it one who has no time, or none for this account.

    Raises:
        Failure: the socket has to be this account's, and is not.
    """
    try:
        _connected(path, _CONNECT_SECONDS, own).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        pass
    return True


def _connected(path: str, seconds: float, own: bool) -> socket.socket:
    if own and os.stat(path).st_uid != os.geteuid():
        raise Failure(REFUSED, f"{path} is another user's socket; nothing is asked there.")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection
