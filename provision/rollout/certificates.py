"""The certificates that a host shows to strangers, as they are served: by a handshake on the host itself.

What a port shows is what counts: a file that was renewed and never read again is as good as none.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography import x509

from provision.errors import DeployError
from provision.project.rules.proxies import is_here, listens_on

if TYPE_CHECKING:
    from provision.hosts import HostConnection
    from provision.project.schema import Project
    from provision.project.target import Target

_SECONDS = 10.0


@dataclass(frozen=True)
class Shown:
    """What a port shows to who asks for a name; empty: for none."""

    service: str
    name: str
    port: int
    until: datetime


def shown(connection: HostConnection, project: Project, target: Target) -> Iterator[Shown]:
    """One for each name of each service that speaks TLS on the host; nothing for what nobody answers yet."""
    for service, declared in project.services_on(target).items():
        proxy = declared.proxy
        if not proxy or not proxy.speaks_tls or not is_here(proxy):
            continue
        port = listens_on(proxy)
        for name in proxy.names or ("",):
            asked = f"any{name[1:]}" if name.startswith("*.") else name
            try:
                with connection.forward(port) as tunnel:
                    until = _until(tunnel.local_port, asked)
            except (DeployError, OSError, ValueError):
                continue
            yield Shown(service, name, port, until)


def _until(port: int, name: str) -> datetime:
    """When the certificate ends that is shown there.

    Raises:
        OSError: nobody speaks TLS there.
        ValueError: it is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # who it is for is not asked here, and one of an own authority is as good
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name or None) as secure,
    ):
        return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"").not_valid_after_utc
