"""Between rsync here and its other half on a host.

rsync starts a helper in place of ssh. The helper passes its two pipes to this process, which runs the remote half of
rsync in a session of the connection and moves the bytes.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import IO, TYPE_CHECKING, Protocol

from provision.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provision.hosts.channel import Channel

_CHUNK = 1 << 18
_LONGEST_COMMAND = 65536


class Sessions(Protocol):
    """A connection that runs commands on its host."""

    @property
    def name(self) -> str: ...
    @property
    def is_open(self) -> bool: ...
    def session(self, argv: Sequence[str]) -> Channel: ...


class Bridge:
    """Takes the helper's pipes, starts the remote command and moves bytes until both sides have ended."""

    def __init__(self, connection: Sessions, helper: socket.socket) -> None:
        self._connection = connection
        self._helper = helper
        self._channel: Channel | None = None
        self._closed = False
        self.status = 255
        self.said = b""  # by the host, outside of rsync's protocol
        self.error: DeployError | None = None

    def run(self) -> None:
        try:
            message, pipes, _, _ = socket.recv_fds(self._helper, _LONGEST_COMMAND, 2)
            if len(pipes) == 2:
                self._serve([os.fsdecode(word) for word in message.split(b"\0")], *pipes)
        except DeployError as error:
            self.error = error
        except (BrokenPipeError, ConnectionResetError):
            pass  # rsync or its helper was ended, and its status says more
        except OSError as error:
            self.error = DeployError("rsync's bytes could not be passed on", why=str(error), host=self._connection.name)
        try:
            self._helper.send(bytes([self.status & 255]))
        except OSError:
            return

    def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            self._channel.close()
        try:
            self._helper.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _serve(self, words: list[str], from_rsync: int, to_rsync: int) -> None:
        """`words`: the host, which is known here, and the remote command."""
        for pipe in (from_rsync, to_rsync):
            os.set_blocking(pipe, True)  # rsync makes its own ends wait for nothing, and the other ends with them
        with open(to_rsync, "wb", 0) as output:
            given = open(from_rsync, "rb", 0)  # noqa: SIM115  # the thread below closes it
            try:
                channel = self._channel = self._connection.session(words[1:])
            except BaseException:
                given.close()
                raise
            with channel:
                threading.Thread(target=_up, args=(given, channel), daemon=True).start()
                if not self._closed:
                    channel.pour_into(to_rsync)
                output.close()
                # rsync keeps its side open until the helper has ended, so the status must not wait for that.
                self.status = channel.exit_status()
                self.said = channel.stderr_tail()


def _up(source: IO[bytes], channel: Channel) -> None:
    """From rsync to the host until rsync has no more to say."""
    with source:
        try:
            while data := source.read(_CHUNK):
                channel.send(data)
            channel.end_input()  # and not more: the answer is still to come
        except (DeployError, OSError):
            return
