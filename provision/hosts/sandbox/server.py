"""An SSH server for machines without sshd: commands and tunnels, one user, one key.

    python -m provision.hosts.sandbox.server ROOT PORT

It serves what this project asks of a host (exec and direct-tcpip), on loopback, with the sandbox's own keys.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import hmac
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)

_CHUNK = 1 << 16
_CONNECT_SECONDS = 5.0
_ENDED = (OSError, EOFError, paramiko.SSHException)  # what the library raises once a connection is gone


class _Login(paramiko.ServerInterface):
    """One client: which key it may have, and what it may ask for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._allowed = base64.b64decode((root / "ssh" / "authorized_keys").read_text().split()[1])
        self.targets: dict[int, socket.socket] = {}

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = hmac.compare_digest(key.asbytes(), self._allowed) and username == getpass.getuser()
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_run, args=(self._root, channel, os.fsdecode(command)), daemon=True).start()
        return True

    def check_channel_direct_tcpip_request(
        self,
        chanid: int,
        origin: tuple[str, int],  # noqa: ARG002
        destination: tuple[str, int],
    ) -> int:
        try:
            self.targets[chanid] = socket.create_connection(destination, _CONNECT_SECONDS)
        except OSError:
            return OPEN_FAILED_CONNECT_FAILED
        self.targets[chanid].settimeout(None)
        return OPEN_SUCCEEDED


def main() -> None:
    root, port = Path(sys.argv[1]), int(sys.argv[2])
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    host_key = paramiko.Ed25519Key.from_private_key_file(str(root / "ssh" / "host_key"))
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(client, host_key, root), daemon=True).start()


def _serve(client: socket.socket, host_key: paramiko.PKey, root: Path) -> None:
    login = _Login(root)
    transport = paramiko.Transport(client)
    transport.add_server_key(host_key)
    open_channels: list[paramiko.Channel] = []  # the transport refers to them weakly: a forgotten one is closed
    try:
        transport.start_server(server=login)
        while transport.is_active():
            channel = transport.accept(1)
            if channel is None:
                continue
            open_channels = [other for other in open_channels if not other.closed] + [channel]
            if target := login.targets.pop(channel.get_id(), None):
                for pump in (_from_channel(channel, target), _to_channel(channel, target)):
                    threading.Thread(target=pump, daemon=True).start()
    except _ENDED:
        return  # the client went away, or was not one
    finally:
        transport.close()


def _run(root: Path, channel: paramiko.Channel, command: str) -> None:
    """What sshd does for an exec request: the exit status goes out at once, the end when the output has ended."""
    process = subprocess.Popen(
        ["/bin/sh", str(root / "entry")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "SSH_ORIGINAL_COMMAND": command},
        start_new_session=True,
        restore_signals=True,
    )
    threading.Thread(target=_feed, args=(channel, process.stdin), daemon=True).start()
    pumps = [
        threading.Thread(target=_drain, args=(process.stdout, channel.sendall), daemon=True),
        threading.Thread(target=_drain, args=(process.stderr, channel.sendall_stderr), daemon=True),
    ]
    for pump in pumps:
        pump.start()
    status = process.wait()
    try:
        channel.send_exit_status(status if status >= 0 else 128 - status)
        for pump in pumps:
            pump.join()
        channel.shutdown_write()
    except _ENDED:
        pass  # the client hung up first
    finally:
        channel.close()


def _feed(channel: paramiko.Channel, target: IO[bytes]) -> None:
    try:
        while data := channel.recv(_CHUNK):
            target.write(data)
            target.flush()
    except _ENDED:
        pass  # the command wants no more input, or the client is gone
    finally:
        with contextlib.suppress(OSError):
            target.close()


def _drain(source: IO[bytes], send: Callable[[bytes], None]) -> None:
    try:
        while data := os.read(source.fileno(), _CHUNK):
            send(data)
    except _ENDED:
        pass  # nobody reads it any more
    finally:
        source.close()


def _from_channel(channel: paramiko.Channel, target: socket.socket) -> Callable[[], None]:
    def pump() -> None:
        try:
            while data := channel.recv(_CHUNK):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except _ENDED:
            target.close()

    return pump


def _to_channel(channel: paramiko.Channel, target: socket.socket) -> Callable[[], None]:
    def pump() -> None:
        try:
            while data := target.recv(_CHUNK):
                channel.sendall(data)
            channel.shutdown_write()
        except _ENDED:
            channel.close()

    return pump


if __name__ == "__main__":
    main()
