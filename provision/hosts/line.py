"""The byte stream that an SSH connection runs over: TCP, a jump host's channel, or a proxy command."""

from __future__ import annotations

import errno
import socket
import subprocess
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from provision.errors import DeployError, Unreachable
from provision.hosts.route import Hop

if TYPE_CHECKING:
    import paramiko

    from provision.hosts.login import Login

PROHIBITED = 1  # RFC 4254, 5.1
DEAD_PEER_MILLISECONDS = 60_000  # as long without an answer to a keep-alive, and the line is given up


class TryAgain(Unreachable):
    """An attempt failed in a way that may pass."""


class Forbidden(DeployError):
    """The host's SSH server is set up not to do it."""


class PromptSocket(socket.socket):
    """Acknowledges at once what the server sends, and sends at once what we write.

    sshd answers in small packets and, by default, sends none before the one ahead of it is acknowledged (Nagle);
    Linux acknowledges up to 40 ms late. Each connection would lose that time before its first command.
    """

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MILLISECONDS)

    if hasattr(socket, "TCP_QUICKACK"):

        def send(self, data: Any, flags: int = 0, /) -> int:
            """tcp(7): the flag is not permanent, sending takes it back."""
            sent = super().send(data, flags)
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            return sent


def open_line(hop: Hop, gateway: Login | None) -> Future[Any]:
    """Start making the byte stream to `hop`: through `gateway`, a proxy command, or TCP."""
    line: Future[Any] = Future()

    def making() -> None:
        try:
            line.set_result(_make_line(hop, gateway))
        except BaseException as error:
            line.set_exception(error)

    threading.Thread(target=making, daemon=True, name=f"line to {hop.name}").start()
    return line


def _make_line(hop: Hop, gateway: Login | None) -> Any:
    if gateway is not None:
        import paramiko

        try:
            return gateway.transport.open_channel(
                "direct-tcpip", (hop.address, hop.port), ("127.0.0.1", 0), timeout=hop.connect_timeout
            )
        except (paramiko.SSHException, EOFError) as error:
            refusal = error if isinstance(error, paramiko.ChannelException) else None
            raise (Unreachable if refusal and refusal.code == PROHIBITED else TryAgain)(
                f"{gateway.hop.name} cannot reach {hop.address}:{hop.port}",
                why=said(refusal) if refusal else f"It says: {error}.",
                next_step="see ProxyJump in ssh's configuration",
                host=hop.name,
            ) from error
    if hop.proxy_command:
        return _proxied(hop)
    try:
        plain = socket.create_connection((hop.address, hop.port), timeout=hop.connect_timeout)
    except OSError as error:
        raise _no_line(hop, error) from error
    return PromptSocket(fileno=plain.detach())


def said(refusal: paramiko.ChannelException) -> str:
    """Why an SSH server opens no channel."""
    code, text = refusal.args
    if code == PROHIBITED:
        return f"Its SSH server says: {text}. See AllowTcpForwarding and PermitOpen in its sshd_config."
    return f"The SSH server says: {text}."


def _proxied(hop: Hop) -> socket.socket:
    """ssh_config(5), "ProxyCommand": run by the shell, its input and output are the line."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {hop.proxy_command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            process_group=0,  # Ctrl-C is for us: what runs over the line may have to be put back first
        )
    threading.Thread(target=process.wait, daemon=True, name=f"proxy to {hop.name}").start()
    return ours


def _no_line(hop: Hop, error: OSError) -> Unreachable:
    """Why there is no TCP connection. A time-out has waited long enough already: only the others may pass."""
    place = f"{hop.address}:{hop.port}"
    if isinstance(error, socket.gaierror):
        kind = TryAgain if error.errno == socket.EAI_AGAIN else Unreachable
        step = f"correct it in hosts of the target, or as HostName in ~/.ssh/config; does `ssh {hop.name}` find it?"
        return kind(f"{hop.address} is not a known name.", why=f"{error.strerror}.", next_step=step, host=hop.name)
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"no answer from {place} within {hop.connect_timeout:g} s",
            why="The machine is off, the address is wrong, or a firewall drops the packets.",
            next_step="check the address and the port; a rented instance may have got new ones",
            host=hop.name,
        )
    if error.errno == errno.ECONNREFUSED:
        return TryAgain(
            f"{place} refuses connections",
            why="The machine is up, but no SSH server listens on that port (yet).",
            next_step="correct the port in hosts of the target; a rented instance may have got a new one",
            host=hop.name,
        )
    step = "is the machine on, and this one in its network (VPN)? Else correct the address in hosts of the target"
    return TryAgain(f"cannot connect to {place}.", why=f"{error.strerror or error}.", next_step=step, host=hop.name)


def dropped(hop: Hop, why: str) -> Unreachable:
    """The server hung up before it said who it is, or in the middle of the handshake."""
    return TryAgain(
        f"{hop.address}:{hop.port} hung up during the handshake",
        why=f"{why}. A server does that when too many log in at once (MaxStartups), and from OpenSSH 9.8 on for a while"
        " after logins that failed (PerSourcePenalties).",
        next_step="try again in a minute; else ask whether an SSH server is at that port at all",
        host=hop.name,
    )
