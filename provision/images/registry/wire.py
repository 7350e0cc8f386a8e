"""How bytes reach a registry: TLS, the loopback exception, retries.

HTTPS everywhere, with the system's authorities and one's own. A registry on a loopback address may speak plain HTTP,
which is found out before anything else is sent; one whose own authority is configured has to speak TLS.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from provision.errors import RegistryFailed, UsageError
from provision.images.registry.connections import CONNECT, Answer, Body, Connections

_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_RETRIES = 4
_BACKOFF, _LONGEST_BACKOFF = 0.5, 8.0  # seconds; the first retry is at once, then each waits twice as long
_LONGEST_WAIT = 60  # seconds; who asks for a longer wait gets a failure that says so
_MOVED = frozenset({301, 302, 303, 307, 308})
_REDIRECTS = 5
_CERTIFICATES = Path("/etc/docker/certs.d")


class Wire:
    """Requests to one registry and to where it sends us; safe to use from several threads.

    Args:
        authority: `host[:port]` of the registry.
    """

    def __init__(self, authority: str, environ: Mapping[str, str] | None = None) -> None:
        self.authority = authority
        self._environ = os.environ if environ is None else environ
        self._connections = Connections(lambda: self._tls, _proxy_of)

    @cached_property
    def base(self) -> str:
        """The registry's address."""
        may_be_plain = is_loopback(self.authority) and not self._own_authorities
        plain = may_be_plain and (self._answers_in_plain() or not _speaks_tls(self.authority))
        return f"{'http' if plain else 'https'}://{self.authority}"

    def _answers_in_plain(self) -> bool:
        """Whether it is sure that plain HTTP is understood; it is asked what everybody may ask.

        Some servers of TLS answer in plain HTTP, too: that they don't understand (400).
        """
        try:
            answer = self._connections.ask("GET", f"http://{self.authority}/v2/", {}, None)
            answer.finish()
        except (OSError, HTTPException, RegistryFailed):
            return False
        return answer.status != 400

    def send(self, method: str, url: str, *, headers: Mapping[str, str], body: Body = None) -> Answer:
        """One request, retried where that helps; its answer, whatever the status, body unread.

        A body that is an iterator can be sent once, so it is not retried.

        Raises:
            RegistryFailed: no answer, a certificate that is not trusted, or a redirect that would uncover what is sent.
        """
        for _ in range(_REDIRECTS):
            self._demand_cover(url)
            answer = self._patiently(method, url, headers, body)
            location = answer.headers.get("Location") if answer.status in _MOVED else None
            if not location or method not in {"GET", "HEAD"}:
                return answer
            answer.finish()
            target = urljoin(url, location)
            if urlsplit(target).netloc != urlsplit(url).netloc:
                # What opens the registry does not open where it keeps its blobs, and must not be shown there.
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url = target
        raise RegistryFailed(f"{self.authority} redirected more than {_REDIRECTS} times.")

    def _patiently(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Answer:
        # PUT by digest and starting an upload can be repeated too.
        left = _RETRIES if body is None or isinstance(body, bytes) else 0
        backoff = 0.0
        while True:
            wait = backoff
            try:
                answer = self._connections.ask(method, url, headers, body)
            except (OSError, HTTPException) as error:
                # What TLS finds wrong stays wrong; a connection that ends within it just ends.
                if not left or (isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)):
                    raise _silence(url, error) from None
            else:
                if not left or answer.status not in _AGAIN:
                    return answer
                wait = _asked_wait(answer, backoff)
                if wait > _LONGEST_WAIT:
                    return answer
                answer.drop()
            time.sleep(max(wait, 0))
            left, backoff = left - 1, min(max(2 * backoff, _BACKOFF), _LONGEST_BACKOFF)

    def _demand_cover(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.netloc)):
            raise RegistryFailed(
                f"{self.authority} sent us to {parts.scheme}://{parts.netloc}, which is not HTTPS.",
                why="What is sent there could be read and changed on the way; plain HTTP is for loopback alone.",
            )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        for file in self._own_authorities:
            try:
                context.load_verify_locations(file)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"{file} is not a file of certificates.", why=str(error)) from None
        return context

    @cached_property
    def _own_authorities(self) -> list[Path]:
        named = self._environ.get("REGISTRY_CA")
        return [*([Path(named)] if named else []), *sorted((_CERTIFICATES / self.authority).glob("*.crt"))]


def is_loopback(authority: str) -> bool:
    """Whether what is sent to `host[:port]` stays on this machine."""
    host = urlsplit(f"//{authority}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_of(host: str) -> str:
    from urllib.request import getproxies, proxy_bypass

    return "" if is_loopback(host) or proxy_bypass(host) else getproxies().get("https", "")


def _asked_wait(answer: Answer, otherwise: float) -> float:
    """Seconds that the answer asks us to wait; RFC 9110, section 10.2.3: a number or a date."""
    written = answer.headers.get("Retry-After", "").strip()
    try:
        return float(written) if written.isdigit() else parsedate_to_datetime(written).timestamp() - time.time()
    except ValueError:
        return otherwise


def _silence(url: str, error: OSError | HTTPException) -> RegistryFailed:
    where = urlsplit(url).netloc
    if isinstance(error, ssl.SSLCertVerificationError):
        return RegistryFailed(
            f"{where} is not trusted: its TLS certificate was refused.",
            why=error.verify_message,
            next_step=f"if it has an authority of its own: REGISTRY_CA=FILE, or {_CERTIFICATES}/{where}/ca.crt",
        )
    return RegistryFailed(f"{where} does not answer.", why=str(error) or type(error).__name__)


def _speaks_tls(authority: str) -> bool:
    """Whether a server on loopback answers a TLS greeting; nothing but the greeting is sent."""
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
