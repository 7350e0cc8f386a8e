"""The SSH handshake over a line that is being made: key exchange, pinned host key, authentication.

Heavy: imported when a connection is made, never before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

from provision.errors import Unreachable
from provision.hosts.authentication import HopKeys
from provision.hosts.known_hosts import HostKey
from provision.hosts.line import dropped
from provision.hosts.login import Login
from provision.hosts.round_trips import RoundTrips
from provision.hosts.route import Hop
from provision.hosts.ssh_library import paramiko
from provision.hosts.transport import KEEPALIVE_SECONDS, PinnedKeys, transport_factory

_AUTHENTICATION_SECONDS = 30.0  # the server may have to ask a directory service first

_log = logging.getLogger(__name__)


def log_in(
    hop: Hop,
    gateway: Login | None,
    line: Future[Any],
    ask_passphrase: Callable[[Path], str] | None,
    round_trips: RoundTrips,
) -> Login:
    """Log in to `hop`; raises as `connect` does."""
    pins = PinnedKeys(hop)
    keys = HopKeys(hop, ask_passphrase)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(pins)
    sock = line.result()
    for step in ("tcp", "version", "key exchange"):
        round_trips.add(step)
    try:
        client.connect(
            hop.address,
            hop.port,
            hop.user,
            timeout=2 * hop.connect_timeout,  # once for its version, which has a time-out of its own, once for its keys
            sock=sock,
            transport_factory=transport_factory(pins),
            auth_strategy=cast(Any, keys),  # it calls authenticate(transport) and nothing else
            banner_timeout=hop.connect_timeout,
            auth_timeout=max(hop.connect_timeout, _AUTHENTICATION_SECONDS),
        )
    except paramiko.SSHException as error:
        client.close()
        raise _explained(hop, error) from error
    except (EOFError, OSError) as error:
        client.close()
        raise dropped(hop, str(error) or type(error).__name__) from error
    except BaseException:
        client.close()
        raise
    round_trips.add("authentication", keys.attempts)
    login = Login(hop, client, gateway)
    login.transport.set_keepalive(KEEPALIVE_SECONDS)
    return login


def show_key(hop: Hop, line: Future[Any]) -> HostKey:
    """The host key that `hop` shows, without logging in."""
    transport = transport_factory(PinnedKeys(hop))(line.result())
    transport.banner_timeout = hop.connect_timeout
    try:
        transport.start_client(timeout=hop.connect_timeout)
        key = transport.get_remote_server_key()
    except paramiko.SSHException as error:
        raise _explained(hop, error) from error
    except (EOFError, OSError) as error:
        raise dropped(hop, str(error) or type(error).__name__) from error
    finally:
        transport.close()
    return HostKey(key.get_name(), key.asbytes())


def _explained(hop: Hop, error: paramiko.SSHException) -> Unreachable:
    _log.debug("handshake with %s failed", hop.name, exc_info=error)
    text = str(error)
    if isinstance(error.__context__, TimeoutError):
        return Unreachable(
            f"{hop.address}:{hop.port} takes connections but says nothing",
            why=f"It did not say within {hop.connect_timeout:g} s that it is an SSH server; it hangs, or it is none.",
            next_step="check the port, or restart the machine",
            host=hop.name,
        )
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return Unreachable(
            "the SSH server and this program have no algorithm in common", why=text.removesuffix("."), host=hop.name
        )
    return dropped(hop, "It closed the connection" if "banner" in text else text.removesuffix("."))
