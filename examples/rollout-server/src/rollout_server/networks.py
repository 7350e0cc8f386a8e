"""Who may ask, and where rollouts may call back to.

A trainer may be named. Its name is resolved once for each connection, and the connection goes to the very address that
was looked at: a name that leads elsewhere a moment later (DNS rebinding) leads nowhere.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpcore

Address = IPv4Address | IPv6Address

# Loopback, RFC 1918, RFC 4193.
PRIVATE = tuple(
    map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"))
)
# Never called, whatever is allowed: they answer whoever asks from this machine, with what it may do in its cloud.
_NEVER = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this machine, by another name
            "::/128",
            "169.254.0.0/16",  # link-local; AWS, Google, Azure, …
            "fe80::/10",
            "fd00:ec2::/32",  # AWS
            "fd20:ce::/32",  # Google
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle
            "224.0.0.0/4",  # multicast
            "ff00::/8",
            "255.255.255.255/32",
            "64:ff9b:1::/48",  # IPv4 addresses, as a network's own translator has them (RFC 8215, RFC 7915)
            "::ffff:0:0:0/96",
        ),
    )
)
_NAT64 = ip_network("64:ff9b::/96")


class NotAllowed(Exception):
    """A trainer is where callbacks may not go; the message says where that is, and is for the log alone."""


def _plain(text: str) -> Address:
    """The address that is meant: an IPv4 address may be wrapped in one of IPv6."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if inner := address.ipv4_mapped or address.sixtofour:
            return inner
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_private(text: str) -> bool:
    """Whether an address is this machine's, or one of a private network."""
    try:
        address = _plain(text)
    except ValueError:
        return False
    return any(address in network for network in PRIVATE)


class Callbacks:
    """The networks that rollouts may call back to."""

    def __init__(self, text: str) -> None:
        """`text` names them, or says `any`.

        Raises:
            ValueError: one of them is no network.
        """
        self.everywhere = text.split() == ["any"]
        self._networks = () if self.everywhere else tuple(ip_network(each) for each in text.split())

    def allow(self, text: str) -> bool:
        address = _plain(text)
        if any(address in network for network in _NEVER):
            return False
        return self.everywhere or any(address in network for network in self._networks)

    def may_be_at(self, host: str) -> bool:
        """Whether `host` may turn out to be allowed: a name is known once it is resolved."""
        try:
            return self.allow(host)
        except ValueError:
            return True


class Checked(httpcore.AsyncNetworkBackend):
    """Connects to what is allowed."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As httpcore wants it.

        Raises:
            NotAllowed: none of the addresses of `host` is.
        """
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host}: its name was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host}: {error}") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        allowed = [address for address in addresses if self._callbacks.allow(address)]
        if not allowed:
            raise NotAllowed(f"{host} is at {', '.join(addresses)}")
        for address in allowed[:-1]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError:
                continue  # the next one may answer
        return await self._inner.connect_tcp(allowed[-1], port, timeout, local_address, socket_options)
