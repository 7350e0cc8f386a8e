"""The SSH handshake over a line that is being made: key exchange, pinned host key, authentication.

Heavy: imported when a connection is made, never before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import fabric
import paramiko

from provision.errors import Unreachable
from provision.hosts.authentication import HopKeys
from provision.hosts.known_hosts import HostKey
from provision.hosts.line import dropped
from provision.hosts.round_trips import RoundTrips
from provision.hosts.route import Hop
from provision.hosts.transport import KEEPALIVE_SECONDS, PinnedKeys, transport_factory

_log = logging.getLogger(__name__)


def log_in(
    hop: Hop,
    gateway: fabric.Connection | None,
    line: Future[Any],
    ask_passphrase: Callable[[Path], str] | None,
    round_trips: RoundTrips,
) -> fabric.Connection:
    """A Fabric connection to `hop`; raises as `connect` does."""
    pins = PinnedKeys(hop)
    keys = HopKeys(hop, ask_passphrase)
    connection = _fabric_connection(hop, gateway)
    connection.client.set_missing_host_key_policy(pins)
    connection.connect_kwargs = {
        "sock": line.result(),
        "transport_factory": transport_factory(pins),
        "auth_strategy": keys,
        "banner_timeout": hop.connect_timeout,
        "auth_timeout": max(hop.connect_timeout, 30),  # the server may ask a directory service first
    }
    round_trips.add("tcp")
    round_trips.add("version")
    round_trips.add("key exchange")
    try:
        connection.open()
    except paramiko.SSHException as error:
        connection.client.close()
        raise _explained(hop, error) from error
    except (EOFError, OSError) as error:
        connection.client.close()
        raise dropped(hop, str(error) or type(error).__name__) from error
    except BaseException:
        connection.client.close()
        raise
    connection.gateway = gateway  # only now: Fabric would have opened a line of its own
    round_trips.add("authentication", keys.attempts)
    connection.transport.set_keepalive(KEEPALIVE_SECONDS)
    return connection


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


def _fabric_connection(hop: Hop, gateway: fabric.Connection | None) -> fabric.Connection:
    """A connection that takes nothing from Fabric's own files: the route is already resolved."""
    config = fabric.Config(ssh_config=paramiko.SSHConfig(), lazy=True)
    connection = fabric.Connection(
        hop.name.replace("@", "_").replace(":", "_"),
        user=hop.user,
        port=hop.port,
        gateway=False,
        config=config,
        connect_timeout=max(1, round(hop.connect_timeout)),
    )
    connection.host = hop.address
    connection.original_host = hop.name
    return connection


def _explained(hop: Hop, error: paramiko.SSHException) -> Unreachable:
    _log.debug("handshake with %s failed", hop.name, exc_info=error)
    text = str(error)
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return Unreachable(
            "the SSH server and this program have no algorithm in common", why=text.removesuffix("."), host=hop.name
        )
    if "protocol banner" in text or "No existing session" in text or isinstance(error, paramiko.ProxyCommandFailure):
        return dropped(hop, "It did not say that it is an SSH server in time" if "banner" in text else text)
    return dropped(hop, text)
