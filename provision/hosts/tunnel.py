"""A local port that leads to a port on the host, over the connection that is already there."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Protocol

from provision.errors import DeployError, UsageError

if TYPE_CHECKING:
    import paramiko

_CHUNK = 65536


class Leads(Protocol):
    """A connection that leads on to ports of its host."""

    def open_direct(self, address: tuple[str, int], origin: tuple[str, int]) -> paramiko.Channel: ...


class Tunnel:
    """Listens on 127.0.0.1 from the moment it is made until it is closed."""

    def __init__(self, connection: Leads, remote: tuple[str, int], local_port: int = 0) -> None:
        self._connection = connection
        self._remote = remote
        self._open: set[socket.socket] = set()
        self._closed = False
        self.last_error: DeployError | None = None
        try:
            self._listener = socket.create_server(("127.0.0.1", local_port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on 127.0.0.1:{local_port}", why=str(error.strerror), next_step="take another local port"
            ) from error
        threading.Thread(target=self._accept, daemon=True, name=f"tunnel to {remote[1]}").start()

    @property
    def local_port(self) -> int:
        """The port on 127.0.0.1 that leads there."""
        port: int = self._listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening and cut what is open."""
        self._closed = True
        # close() alone would leave the accepting thread, and with it the port, in place
        for open_socket in (self._listener, *self._open):
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._listener.close()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, origin = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, origin), daemon=True).start()

    def _serve(self, client: socket.socket, origin: tuple[str, int]) -> None:
        self._open.add(client)
        if self._closed:  # accepted, but too late for `close` to see it
            client.close()
            return
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel = self._connection.open_direct(self._remote, origin)
        except (DeployError, OSError) as error:
            self.last_error = error if isinstance(error, DeployError) else None
            self._open.discard(client)
            client.close()
            return
        upward = threading.Thread(target=_up, args=(client, channel), daemon=True)
        upward.start()
        try:
            while data := channel.recv(_CHUNK):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            upward.join()
        except (OSError, EOFError):
            pass  # the client or the host hung up
        finally:
            self._open.discard(client)
            with contextlib.suppress(OSError, EOFError):
                channel.close()
            client.close()


def _up(client: socket.socket, channel: paramiko.Channel) -> None:
    try:
        while data := client.recv(_CHUNK):
            channel.sendall(data)
        channel.shutdown_write()  # the other direction may still have much to say
    except (OSError, EOFError):
        with contextlib.suppress(OSError, EOFError):
            channel.close()
