"""SSH: connections with pinned host keys, rsync and tunnels over the same connection, many hosts at a time.

Importing this package is cheap: Fabric and paramiko are imported when the first connection is made.
"""

from provision.hosts.ahead import Ahead
from provision.hosts.channel import Channel, Completed, TerminalSize
from provision.hosts.connecting import ConnectEvent, connect
from provision.hosts.connection import HostConnection
from provision.hosts.fanout import HostResult, run_on_hosts
from provision.hosts.known_hosts import HostKey
from provision.hosts.line import Forbidden
from provision.hosts.round_trips import RoundTrips
from provision.hosts.rsync_output import RsyncProgress, RsyncStats
from provision.hosts.spec import SANDBOX, HostSpec, declared_hosts, parse_hosts
from provision.hosts.trust import fetch_key, trust
from provision.hosts.tunnel import Tunnel

__all__ = [
    "SANDBOX",
    "Ahead",
    "Channel",
    "Completed",
    "ConnectEvent",
    "Forbidden",
    "HostConnection",
    "HostKey",
    "HostResult",
    "HostSpec",
    "RoundTrips",
    "RsyncProgress",
    "RsyncStats",
    "TerminalSize",
    "Tunnel",
    "connect",
    "declared_hosts",
    "fetch_key",
    "parse_hosts",
    "run_on_hosts",
    "trust",
]
