"""An SSH connection that somebody has logged in to."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from provision.hosts.route import Hop
from provision.hosts.ssh_library import paramiko


@dataclass(frozen=True)
class Login:
    """An SSH connection to `hop`, authenticated; `gateway` is the one that it runs through."""

    hop: Hop
    client: paramiko.SSHClient
    gateway: Login | None = None

    @property
    def transport(self) -> paramiko.Transport:
        """What carries its channels."""
        transport = self.client.get_transport()
        assert transport is not None  # noqa: S101  # for the type checker: the client is connected
        return transport

    def close(self) -> None:
        """End the connection, and those that it runs through."""
        # The library's reading thread looks ten times a second whether it should end; the end of its stream wakes it.
        transport = self.client.get_transport()  # None where it was closed already
        if transport is not None and isinstance(transport.sock, socket.socket):
            with contextlib.suppress(OSError):
                transport.sock.shutdown(socket.SHUT_RDWR)
        self.client.close()
        if self.gateway is not None:
            self.gateway.close()
