"""How bytes reach a registry: TLS, the loopback exception, retries.

HTTPS everywhere, with the system's authorities and one's own. A registry on a loopback address may speak plain HTTP,
which is found out by a TLS greeting before anything else is sent; one whose own authority is configured has to speak
TLS.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.exceptions import SSLError as UrllibSSLError

from provision.errors import RegistryFailed, UsageError

CHUNK = 1 << 20
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_RETRIES = 4
_LONGEST_WAIT = 60  # seconds; who asks for a longer wait gets a failure that says so
_CONNECT, _READ = 10.0, 120.0
_REDIRECTS = 5
_CERTIFICATES = Path("/etc/docker/certs.d")

Body = bytes | Iterator[bytes] | None


class Wire:
    """Requests to one registry and to where it sends us.

    Args:
        authority: `host[:port]` of the registry.
    """

    def __init__(self, authority: str, environ: Mapping[str, str] | None = None) -> None:
        self.authority = authority
        self._environ = os.environ if environ is None else environ
        self._managers: dict[tuple[str, str], urllib3.PoolManager] = {}

    @cached_property
    def base(self) -> str:
        """The registry's address."""
        plain = is_loopback(self.authority) and not self._own_authorities and not _speaks_tls(self.authority)
        return f"{'http' if plain else 'https'}://{self.authority}"

    def send(self, method: str, url: str, *, headers: Mapping[str, str], body: Body = None) -> urllib3.BaseHTTPResponse:
        """One request, retried where that helps; its answer, whatever the status, body unread.

        A body that is an iterator can be sent once, so it is not retried.

        Raises:
            RegistryFailed: no answer, a certificate that is not trusted, or a redirect that would uncover what is sent.
        """
        for _ in range(_REDIRECTS):
            self._demand_cover(url)
            answer = self._once(method, url, headers, body)
            location = answer.get_redirect_location()
            if not location or method not in {"GET", "HEAD"}:
                return answer
            finish(answer)
            target = urljoin(url, location)
            if urlsplit(target).netloc != urlsplit(url).netloc:
                # What opens the registry does not open where it keeps its blobs, and must not be shown there.
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url = target
        raise RegistryFailed(f"{self.authority} redirected more than {_REDIRECTS} times.")

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> urllib3.BaseHTTPResponse:
        fresh = body is None or isinstance(body, bytes)
        retries = urllib3.Retry(
            total=_RETRIES if fresh else 0,
            other=0,
            redirect=0,
            status_forcelist=_AGAIN if fresh else (),
            allowed_methods=None,  # PUT by digest and starting an upload can be repeated too
            backoff_factor=0.25,
            backoff_max=8,
            backoff_jitter=0.1,
            retry_after_max=_LONGEST_WAIT,
            raise_on_status=False,
        )
        try:
            return self._pools(url).request(
                method, url, headers=headers, body=body, retries=retries, redirect=False, preload_content=False
            )
        except HTTPError as error:
            raise self._silence(url, error) from None

    def _silence(self, url: str, error: HTTPError) -> RegistryFailed:
        reason = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
        where = urlsplit(url).netloc
        if isinstance(reason, UrllibSSLError):
            return RegistryFailed(
                f"{where} is not trusted: its TLS certificate was refused.",
                why=str(reason),
                next_step=f"if it has an authority of its own: REGISTRY_CA=FILE, or {_CERTIFICATES}/{where}/ca.crt",
            )
        # urllib3 begins its messages with the pool's or connection's representation.
        why = str(reason).rpartition("): ")[2] or type(reason).__name__
        return RegistryFailed(f"{where} does not answer.", why=why)

    def _demand_cover(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.netloc)):
            raise RegistryFailed(
                f"{self.authority} sent us to {parts.scheme}://{parts.netloc}, which is not HTTPS.",
                why="What is sent there could be read and changed on the way; plain HTTP is for loopback alone.",
            )

    def _pools(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        direct = is_loopback(parts.netloc) or proxy_bypass(parts.hostname or "")
        proxy = "" if direct else getproxies().get(parts.scheme, "")
        if (parts.scheme, proxy) not in self._managers:
            # Reading the system's authorities takes 20 ms, which plain HTTP on loopback need not wait for.
            context = self._tls() if "https" in {parts.scheme, urlsplit(proxy).scheme} else None
            timeout = urllib3.Timeout(connect=_CONNECT, read=_READ)
            self._managers[parts.scheme, proxy] = (
                urllib3.ProxyManager(proxy, ssl_context=context, timeout=timeout)
                if proxy
                else urllib3.PoolManager(ssl_context=context, timeout=timeout)
            )
        return self._managers[parts.scheme, proxy]

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


def chunks(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The body, as it is on the wire: digests are taken over that.

    Raises:
        RegistryFailed: the connection ended before the body did.
    """
    try:
        yield from answer.stream(CHUNK, decode_content=False)
    except HTTPError as error:
        raise RegistryFailed("the registry stopped in the middle of its answer.", why=str(error)) from None
    finally:
        answer.release_conn()


def read(answer: urllib3.BaseHTTPResponse, most: int) -> bytes:
    """The whole body, of at most `most` bytes.

    Raises:
        RegistryFailed: it is longer, or ended too early.
    """
    content = bytearray()
    for part in chunks(answer):
        content += part
        if len(content) > most:
            raise RegistryFailed(f"the registry answered with more than {most} bytes where that is not possible.")
    return bytes(content)


def finish(answer: urllib3.BaseHTTPResponse) -> None:
    """Be done with an answer whose body says nothing; a connection takes the next request only when it was read."""
    read(answer, CHUNK)


def _speaks_tls(authority: str) -> bool:
    """Whether a server on loopback answers a TLS greeting; nothing but the greeting is sent."""
    parts = urlsplit(f"//{authority}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the connection is closed again, and made anew with verification
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_CONNECT) as plain:
            context.wrap_socket(plain, server_hostname=parts.hostname).close()
    except OSError:  # it answered in another language, hung up, or nobody is there: the request itself will tell
        return False
    return True
