"""Connections that stay open from one request to the next.

What is sent, when it is sent again and what an answer means is decided above; this only brings it there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from provision.errors import RegistryFailed
from provision.images.registry.connection import CHUNK, Body, Connection, Incoming, connect

if TYPE_CHECKING:
    import ssl

_LEGAL = "!#$%&'()*+,/:;=?@[]~"  # RFC 3986: stands in an address as it is
_OWN_HEADERS = {"Accept-Encoding": "identity"}  # digests are taken over what is on the wire
_PORTS = {"http": 80, "https": 443}


class Answer:
    """An answer whose body is still to come. Its connection takes the next request once the body was read."""

    def __init__(self, incoming: Incoming, connection: Connection, idle: list[Connection]) -> None:
        self.status = incoming.status
        self.headers = incoming.headers  # names in lower case
        self._incoming = incoming
        self._connection: Connection | None = connection  # until it was given back, or closed
        self._idle = idle

    def chunks(self) -> Iterator[bytes]:
        """The body, as it is on the wire: digests are taken over that.

        Raises:
            RegistryFailed: the connection ended before the body did.
        """
        try:
            yield from self._incoming.body()
        except OSError as error:
            raise RegistryFailed("the registry stopped in the middle of its answer.", why=str(error)) from None
        finally:
            self._release(is_free=self._incoming.is_complete and not self._incoming.is_last)

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
        self._idle: defaultdict[str, list[Connection]] = defaultdict(list)

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Answer:
        """One request, and its answer.

        Raises:
            OSError: there was none.
        """
        parts = urlsplit(url)
        authority = parts.netloc.rpartition("@")[2]
        idle = self._idle[f"{parts.scheme}://{authority}"]
        connection = _alive(idle) or self._new(parts.scheme, parts.hostname or "", parts.port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            sent = {"Host": authority, **_OWN_HEADERS, **headers}
            return Answer(connection.ask(method, quote(target, safe=_LEGAL), sent, body), connection, idle)
        except BaseException:
            connection.close()
            raise

    def _new(self, scheme: str, host: str, port: int | None) -> Connection:
        is_covered = scheme == "https"
        proxy = self._proxy_of(host) if is_covered else ""
        return connect(host, port or _PORTS[scheme], self._tls() if is_covered else None, proxy)


def _alive(idle: list[Connection]) -> Connection | None:
    """One that the other side has not closed meanwhile."""
    while True:
        try:
            connection = idle.pop()
        except IndexError:  # another thread may have been faster
            return None
        if not connection.has_ended:
            return connection
        connection.close()
