"""The SSH library's transport with fewer waits, and only the host keys that are pinned.

Heavy: imported when a connection is made, never before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from provision.errors import HostKeyChanged, HostKeyUnknown, Unreachable
from provision.hosts import known_hosts
from provision.hosts.known_hosts import HostKey, Verdict
from provision.hosts.line import PROHIBITED
from provision.hosts.route import Hop
from provision.hosts.ssh_library import paramiko

# ruff: isort: split
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_CHANNEL_REQUEST, cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST
from paramiko.message import Message
from paramiko.transport import ServiceRequestingTransport

KEEPALIVE_SECONDS = 15

# Without a handler of their own, the library's logs would reach the terminal, tracebacks included.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class _Authentication(AuthOnlyHandler):
    """Ready for the answer before the question is sent.

    The library makes the event that the answer sets after it has sent the question. An answer can come faster than
    that, and then it is waited for until the time is over. The same in little as paramiko/paramiko#2505.
    """

    def send_auth_request(
        self, username: str, method: str, finish_message: Callable[[Message], None] | None = None
    ) -> Any:
        """As inherited, its lines in another order: nothing it calls lies between them."""
        self.auth_method = method
        self.username = username
        message = Message()
        message.add_byte(cMSG_USERAUTH_REQUEST)
        for field in (username, "ssh-connection", method):
            message.add_string(field)
        if finish_message is not None:
            finish_message(message)
        self.auth_event = event = threading.Event()
        with self.transport.lock:
            self.transport._send_message(message)  # type: ignore[attr-defined]
        return self.wait_for_response(event)


class PinnedTransport(ServiceRequestingTransport):
    """Asks for the authentication service and authenticates in one flight instead of two.

    RFC 4253, 10, has the server answer a service request and go on reading; nothing asks the client to wait. The
    library waits, looks for the answer ten times a second, and is not ready for what follows it meanwhile
    (paramiko/paramiko#2505).
    """

    def ensure_session(self) -> None:
        if self.auth_handler is None:
            message = Message()
            message.add_byte(cMSG_SERVICE_REQUEST)
            message.add_string("ssh-userauth")
            self._send_message(message)  # type: ignore[attr-defined]
            self.auth_handler = self.get_auth_handler()

    def get_auth_handler(self) -> AuthOnlyHandler:
        return _Authentication(self)

    def open_channel(self, *args: Any, **options: Any) -> paramiko.Channel:
        """As inherited, but a channel that keeps the order of what is sent."""
        channel = super().open_channel(*args, **options)
        # The library names the class in the middle of what is inherited. Nothing was sent over the channel yet.
        channel.__class__ = _OrderedChannel
        return channel

    def request_port_forward(self, address: str, port: int, handler: Any = None) -> int:
        """As inherited, with such channels, too; raises ChannelException where the server leads no port here."""

        def came(channel: paramiko.Channel, *where: object) -> None:
            channel.__class__ = _OrderedChannel
            if handler is not None:
                handler(channel, *where)

        try:
            return int(super().request_port_forward(address, port, came))
        except paramiko.SSHException as error:
            if self.is_active():
                raise paramiko.ChannelException(PROHIBITED, str(error)) from None
            raise


class _OrderedChannel(paramiko.Channel):
    """Says nothing after its CLOSE.

    The library writes a message while it holds the channel's lock, and sends it when it does not: exchanging keys needs
    that. So a CLOSE, be it the answer to the server's, can overtake what another thread is about to send. sshd ends the
    whole connection when it hears of a channel that it has forgotten (paramiko/paramiko#1115). Here the last thread
    that speaks sends the CLOSE.
    """

    _speakers = 0
    _close: Message | None = None  # waits for them

    def shutdown(self, how: int) -> None:
        with self._speaking():
            super().shutdown(how)

    def _send(self, data: bytes, message: Message) -> int:
        with self._speaking():
            return int(super()._send(data, message))  # type: ignore[misc]

    def _close_internal(self) -> tuple[Message | None, Message | None]:
        """What is to be sent now; the caller holds the lock."""
        end, close = super()._close_internal()  # type: ignore[misc]
        if close is None or not self._speakers:
            return end, close
        self._close = close
        return None, None

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        with self.lock:
            self._speakers += 1
        try:
            yield
        finally:
            close = None
            with self.lock:
                self._speakers -= 1
                if not self._speakers:
                    close, self._close = self._close, None
            if close is not None:
                self.get_transport()._send_user_message(close)  # type: ignore[attr-defined]


def transport_factory(pins: PinnedKeys) -> Callable[..., PinnedTransport]:
    """Makes transports that ask the server for a key of a pinned type first."""

    def make(sock: Any, **options: Any) -> PinnedTransport:
        transport = PinnedTransport(sock, **options)
        security = transport.get_security_options()
        ours = [name for name in security.key_types if name in pins.algorithms]
        security.key_types = [*ours, *(name for name in security.key_types if name not in ours)]
        return transport

    return make


class PinnedKeys(paramiko.MissingHostKeyPolicy):
    """Accepts a pinned key of `hop` and raises for every other.

    The library asks its policy about each key that it does not know itself, and it is given none to know.
    """

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._files = known_hosts.read_pins(hop.known_hosts)
        self._pinned = known_hosts.pinned(self._files, hop.key_name)

    @property
    def algorithms(self) -> set[str]:
        """The signature algorithms of the pinned keys. RFC 8332: an RSA key signs with SHA-2."""
        types = {entry.key.type for entry in self._pinned}
        return types | ({"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in types else set())

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        """Raises `HostKeyUnknown`, `HostKeyChanged`, or returns for a pinned key."""
        self.verify(HostKey(key.get_name(), key.asbytes()))

    def verify(self, key: HostKey) -> None:
        """As `missing_host_key`, for a key as a value."""
        hop = self._hop
        match known_hosts.judge(self._files, hop.key_name, key):
            case Verdict.PINNED:
                return
            case Verdict.UNKNOWN:
                raise HostKeyUnknown(
                    f"host key not known yet. It shows {key.type} {key.fingerprint}.",
                    why="Compare that with what the machine's owner or console says.",
                    next_step=f"deploy host trust {hop.name}",
                    host=hop.name,
                )
            case Verdict.REVOKED:
                raise HostKeyChanged(
                    f"host key is revoked: {key.type} {key.fingerprint}.",
                    why="A known_hosts file marks this key @revoked; somebody may be posing as the host.",
                    next_step="ask who revoked it; do not connect",
                    host=hop.name,
                )
            case Verdict.CHANGED:
                expected = ", ".join(dict.fromkeys(entry.key.fingerprint for entry in self._pinned))
                place = self._pinned[0]
                raise HostKeyChanged(
                    f"HOST KEY CHANGED. Expected {expected}, got {key.fingerprint} ({key.type}).",
                    why=f"Pinned in {place.file}:{place.number}. Somebody may be listening in, or it is a new machine.",
                    next_step=f"if the machine was rebuilt: deploy host trust {hop.name} --replace",
                    host=hop.name,
                )


def start_command(channel: paramiko.Channel, command: str) -> None:
    """Ask the server to run `command` and do not wait for its consent.

    RFC 4254, 5.4: requests and data of a channel are handled in order, so input may follow at once; a refusal
    closes the channel, which reads as its end without an exit status.
    """
    message = Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exec")
    message.add_boolean(True)  # noqa: FBT003  # wants a reply
    message.add_string(os.fsencode(command))
    transport = channel.get_transport()
    if not transport.is_active():
        raise Unreachable("the connection is gone")
    transport._send_user_message(message)  # type: ignore[attr-defined]
