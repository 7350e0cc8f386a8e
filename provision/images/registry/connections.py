"""Connections that stay open from one request to the next: HTTP/1.1, over TLS and through a proxy where it has to be.

What is sent, when it is sent again and what an answer means is decided above; this only brings it there.
"""

from __future__ import annotations

import base64
import select
import socket
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from provision.errors import RegistryFailed, UsageError

if TYPE_CHECKING:
    import ssl

CHUNK = 1 << 20
CONNECT, _READ = 10.0, 120.0  # seconds
_LEGAL = "!#$%&'()*+,/:;=?@[]~"  # RFC 3986: stands in an address as it is

Body = bytes | Iterator[bytes] | None


class Answer:
    """An answer whose body is still to come. Its connection takes the next request once the body was read."""

    def __init__(self, response: HTTPResponse, connection: HTTPConnection, idle: list[HTTPConnection]) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._connection: HTTPConnection | None = connection  # until it was given back, or closed
        self._idle = idle

    def chunks(self) -> Iterator[bytes]:
        """The body, as it is on the wire: digests are taken over that.

        Raises:
            RegistryFailed: the connection ended before the body did.
        """
        response = self._response
        try:
            while part := response.read(CHUNK):
                yield part
            if response.length:  # http.client takes a body that ends early for a short one
                raise HTTPException(f"{response.length} more bytes were promised")
        except (OSError, HTTPException) as error:
            raise RegistryFailed("the registry stopped in the middle of its answer.", why=str(error)) from None
        finally:
            self._release(is_free=response.isclosed() and not response.will_close and not response.length)

    def read(self, most: int) -> bytes:
        """The whole body, of at most `most` bytes.

        Raises:
            RegistryFailed: it is longer, or ended too early.
        """
        content = bytearray()
        for part in self.chunks():
            content += part
            if len(content) > most:
                raise RegistryFailed(f"the registry answered with more than {most} bytes where that is not possible.")
        return bytes(content)

    def finish(self) -> None:
        """Be done with a body that says nothing."""
        self.read(CHUNK)

    def drop(self) -> None:
        """Be done with it unread."""
        self._release(is_free=False)

    def _release(self, *, is_free: bool) -> None:
        connection, self._connection = self._connection, None
        if connection and is_free:
            self._idle.append(connection)
        elif connection:
            connection.close()


class Connections:
    """To any server; safe to use from several threads.

    Args:
        tls: whom to trust; asked for once, when it is needed.
        proxy_of: the address of the proxy for a host, or empty.
    """

    def __init__(self, tls: Callable[[], ssl.SSLContext], proxy_of: Callable[[str], str]) -> None:
        self._tls = tls
        self._proxy_of = proxy_of
        self._idle: defaultdict[str, list[HTTPConnection]] = defaultdict(list)

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Answer:
        """One request, and its answer.

        Raises:
            OSError, HTTPException: there was none.
        """
        parts = urlsplit(url)
        idle = self._idle[f"{parts.scheme}://{parts.netloc}"]
        connection = _alive(idle) or self._new(parts.scheme, parts.hostname or "", parts.port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(_READ)
            connection.request(method, quote(target, safe=_LEGAL), body=body, headers=dict(headers))
            return Answer(connection.getresponse(), connection, idle)
        except BaseException:
            connection.close()
            raise

    def _new(self, scheme: str, host: str, port: int | None) -> HTTPConnection:
        if scheme == "http":
            return HTTPConnection(host, port, timeout=CONNECT)
        if proxy := self._proxy_of(host):
            return self._through(proxy, host, port)
        return HTTPSConnection(host, port, timeout=CONNECT, context=self._tls())

    def _through(self, proxy: str, host: str, port: int | None) -> HTTPConnection:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme != "http":
            raise UsageError(
                f"the proxy {parts.scheme}://{parts.hostname} cannot be used.",
                why="Proxies are asked in HTTP, and pass TLS on unopened.",
                next_step="HTTPS_PROXY=http://HOST:PORT, or NO_PROXY for the registry",
            )
        login = {}
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            login["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        connection = HTTPSConnection(parts.hostname or "", parts.port or 80, timeout=CONNECT, context=self._tls())
        connection.set_tunnel(host, port or 443, headers=login)
        return connection


def _alive(idle: list[HTTPConnection]) -> HTTPConnection | None:
    """One that the other side has not closed meanwhile."""
    while True:
        try:
            connection = idle.pop()
        except IndexError:  # another thread may have been faster
            return None
        if not _has_ended(connection.sock):
            return connection
        connection.close()


def _has_ended(idle: socket.socket) -> bool:
    """Nobody speaks unasked, so what can be read is the end."""
    look = select.poll()
    look.register(idle, select.POLLIN)
    return bool(look.poll(0))
