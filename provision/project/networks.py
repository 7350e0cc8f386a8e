"""Networks and what is reached in them, as people write them: `10.0.0.0/8`, `10.0.0.0/8:443`, `[2001:db8::/32]:443`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_LAST_PORT = 65535
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LONGEST_NAME = 253
# They answer whoever asks from a machine, with what that may do in its cloud (metadata, roles).
_CLOUDS_OWN = tuple(
    map(
        ipaddress.ip_network,
        (
            *("169.254.0.0/16", "fe80::/10"),  # link-local: most clouds
            *("fd00:ec2::/32", "fd20:ce::/32"),  # AWS, Google
            *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),  # Alibaba, Azure, Oracle
        ),
    )
)


@dataclass(frozen=True)
class Endpoint:
    """Ports in a network; `first` and `last` are the same for one port."""

    network: str
    first: int
    last: int

    @property
    def not_meant(self) -> tuple[str, ...]:
        """What a wider network, such as `0.0.0.0/0`, does not mean: a cloud's own. Who means one of them names it."""
        wide = ipaddress.ip_network(self.network)
        narrower = (each for each in _CLOUDS_OWN if each.version == wide.version and each.prefixlen > wide.prefixlen)
        return tuple(str(each) for each in narrower if each.network_address in wide)


def parse_host(text: str) -> str:
    """The address of a machine as the kernel writes it, or its name as it is.

    Raises:
        ValueError: it is neither.
    """
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        # RFC 1123, 2.1: the last part of a name is not all digits, so that none looks like an address.
        if re.fullmatch(rf"({_LABEL}\.)*(?![0-9]+$){_LABEL}", text) and len(text) <= _LONGEST_NAME:
            return text
        raise ValueError('expected an address or a host name, such as "10.0.0.5" or "rollout-server-1".') from None


def authority(host: str, port: int | None) -> str:
    """Both as a URL has them (RFC 3986, section 3.2.2). Who has no port is never asked: the rules demand one."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_network(text: str) -> str:
    """`text` as the kernel writes it.

    Raises:
        ValueError: it is no network, or has bits beyond its prefix.
    """
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_interface(text).network
    except ValueError:
        raise ValueError('expected a network such as "10.0.0.0/8" or "2001:db8::/32".') from None
    raise ValueError(f'"{text}" is an address inside a network; write "{meant}".')


def parse_endpoint(text: str) -> Endpoint:
    """A network and a port, or a range of ports.

    Raises:
        ValueError: it is something else.
    """
    network, _, ports = text.rpartition(":")
    numbers = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", ports)
    if not network or not numbers:
        raise ValueError('expected a network and a port, such as "10.0.0.0/8:443" or "10.0.0.0/8:8080-8130".')
    first, last = int(numbers[1]), int(numbers[2] or numbers[1])
    if not 1 <= first <= last <= _LAST_PORT:
        raise ValueError(f"expected a port from 1 to {_LAST_PORT}, or a range from the lower to the higher.")
    return Endpoint(parse_network(re.sub(r"^\[(.*)\]$", r"\1", network)), first, last)
