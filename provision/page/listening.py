"""Serves the page on loopback or a unix socket, and on nothing else; no number of connections ends it.

Other accounts of this machine reach loopback, too, and may have seen the address among a browser's arguments, or have
been sent the cookie, which browsers give to whatever listens on another port. So nothing that they send is read, where
the kernel tells whose a connection is.

Beyond `MOST` connections a new one is closed at once, and one that has asked for nothing within a few seconds is, too.
uvicorn by itself limits neither: it waits for a first request for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from provision.agent import sockets
from provision.errors import UsageError

USUAL_PORT = 8477
MOST = 256  # connections; a browser has six at most
_FIRST_SECONDS = 10.0  # within which a connection asks for something
_FILES = 8192  # each host and each browser is a file
_HERE = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}"  # as the kernel writes it, in IPv6 too


class _Bounded(H11Protocol):
    """A connection that is let in, or is not, and does not idle."""

    _is_refused = False
    _is_of_a_stranger: bool | None = None
    _first: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        if len(self.connections) >= MOST:
            self._is_refused = True
            transport.abort()
            return
        self._first = self.loop.call_later(_FIRST_SECONDS, transport.abort)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._is_of_a_stranger is None:  # not sooner: it takes a look at all sockets, for who says nothing
            self._is_of_a_stranger = _is_of_a_stranger(self.transport)
        if self._is_of_a_stranger:
            self.transport.abort()
            return
        super().data_received(data)
        if self.cycle is not None and self._first is not None:
            self._first.cancel()
            self._first = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._first is not None:
            self._first.cancel()
        if not self._is_refused:
            super().connection_lost(exc)

    def eof_received(self) -> None:
        if not self._is_refused:
            super().eof_received()


def _is_of_a_stranger(transport: Any) -> bool:
    """Whether another account has the other end, as the kernel tells (proc(5), "/proc/net/tcp"), where it does."""
    theirs, ours = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not isinstance(theirs, tuple):  # a unix socket, to which this account alone may connect
        return False
    near, far = (f"{_HERE}:{end[1]:04X}" for end in (theirs, ours))
    ends = (row for row in sockets.rows(near) if row[1].endswith(near) and row[2].endswith(far))
    # One that its process has closed has no inode, and looks like root's; who waits for no answer could be anybody.
    whose = next((int(row[7]) for row in ends if int(row[9])), None)
    return sys.platform == "linux" if whose is None else whose not in (0, os.geteuid())


def loopback(port: int | None) -> socket.socket:
    """A socket that listens on this machine alone.

    Args:
        port: None: the usual one, or any where that is taken.

    Raises:
        UsageError: it is taken.
    """
    for each in (port,) if port is not None else (USUAL_PORT, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", each))
            listener.listen(MOST)  # from now on a browser waits, instead of being told that nobody is there
        except OSError as failure:
            listener.close()
            if port is not None:
                raise UsageError(
                    f"port {port} of this machine can't be had: {failure.strerror}.",
                    next_step="deploy ui, which takes one that is free",
                ) from None
        else:
            return listener
    raise AssertionError("the kernel always has a free port")  # pragma: no cover


@contextlib.contextmanager
def unix(path: Path) -> Any:
    """A socket in the file system that this account alone may connect to; it is removed at the end.

    Raises:
        UsageError: something else is there, or it can't be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode) or _answers(path):
                raise UsageError(f"{path}: something is there.", next_step="name another path")
            path.unlink()  # of one that was killed
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
            listener.listen(MOST)
        finally:
            os.umask(mask)
    except OSError as failure:
        listener.close()
        raise UsageError(f"{path}: {failure.strerror or failure}.", next_step="name another path") from None
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


class _Server(uvicorn.Server):
    """One that says so before it waits for what is under way."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def server(app: ASGIApp, ending: Callable[[], None]) -> uvicorn.Server:
    """What serves `app`, until its `should_exit` is set.

    Args:
        ending: called when it is, to end what would be answered for ever.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    config = uvicorn.Config(
        app,
        http=_Bounded,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=MOST,
        h11_max_incomplete_event_size=16 << 10,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    return _Server(config, ending)
