"""TLS to registries: whom to trust, and what went wrong."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from provision.connections import CONNECT
from provision.errors import RegistryFailed, UsageError


def trusting(authorities: Iterable[Path]) -> ssl.SSLContext:
    """The system's authorities, and those in files of one's own.

    Raises:
        UsageError: a file holds none.
    """
    context = ssl.create_default_context()
    for file in authorities:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{file} is not a file of certificates.", why=str(error)) from None
    return context


def is_spoken_at(authority: str) -> bool:
    """Whether a server answers a greeting; nothing but the greeting is sent."""
    parts = urlsplit(f"//{authority}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the connection is closed again, and made anew with verification
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=CONNECT) as plain:
            context.wrap_socket(plain, server_hostname=parts.hostname).close()
    except OSError:  # it answered in another language, hung up, or nobody is there: the request itself will tell
        return False
    return True


def stays_wrong(error: OSError) -> bool:
    """What TLS finds wrong stays wrong; a connection that ends within it just ends."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)


def silence(where: str, error: OSError, certificates: Path) -> RegistryFailed:
    """Why there is no answer from `host[:port]`; `certificates` is where files of authorities are looked for."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return RegistryFailed(
            f"{where} is not trusted: its TLS certificate was refused.",
            why=error.verify_message,
            next_step=f"if it has an authority of its own: REGISTRY_CA=FILE, or {certificates}/{where}/ca.crt",
        )
    return RegistryFailed(f"{where} does not answer.", why=str(error) or type(error).__name__)
