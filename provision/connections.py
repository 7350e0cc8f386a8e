"""Connections that stay open from one request to the next; urllib3 speaks HTTP and TLS over them.

Its time-outs are for each read, so that who sends a byte a minute keeps us for good. Here every read and every write
gets what is left of one deadline over all of a request. What is sent, when it is sent again and what an answer means
is decided above; this only brings it there.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import BaseHTTPResponse, make_headers
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from provision.errors import DeployError, UsageError

CHUNK = 64 << 10  # bytes of a body at once
CONNECT = 10.0  # seconds
_SLOWEST = 100_000  # bytes a second
_SILENCE = 120.0  # seconds; a transfer that takes hours does not stand still for longer
_WRITTEN = 16 << 10  # bytes at once: TLS sends no more with one time-out
_LEGAL = "!#$%&'()*+,/:;=?@[]~"  # RFC 3986: stands in an address as it is

Body = bytes | Iterator[bytes] | None


class Peer(NamedTuple):
    """Who is asked: what sentences call it, and what is raised where it fails."""

    name: str
    failed: type[DeployError]


class Deadline:
    """When a request is over: with all attempts, redirects and the body of its answer; not counting waits between.

    What is large takes long. So bytes of a body that arrived, or were taken, earn the time that they take at a slow
    pace: by what came, because how much is to come is something that the other side says.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def left(self, most: float = _SILENCE) -> float:
        """Seconds for what comes next, at most `most`.

        Raises:
            TimeoutError: it is over.
        """
        if self.is_over:
            raise TimeoutError("timed out")
        return min(self._end - time.monotonic(), most)

    def earn(self, size: int) -> None:
        self._end += size / _SLOWEST

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)
        self._end += seconds


class _Timely(io.RawIOBase):
    """What arrives on a socket until the deadline."""

    def __init__(self, raw: io.RawIOBase, own: socket.socket, deadline: Deadline) -> None:
        self._raw, self._socket, self._deadline = raw, own, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._deadline.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Incoming(http.client.HTTPResponse):
    """What urllib3 reads answers from, a proxy's too."""

    def __init__(self, deadline: Deadline, own: socket.socket, method: str | None = None) -> None:
        super().__init__(own, method=method)
        self.fp = io.BufferedReader(_Timely(self.fp.detach(), own, deadline))

    def _safe_read(self, amt: int) -> bytes:
        if amt < 0:  # all that comes, to http.client: the size of a chunk is what the server says
            raise http.client.HTTPException("a chunk of a negative size")
        return super()._safe_read(amt)  # type: ignore[misc,no-any-return]

    def begin(self) -> None:
        super().begin()
        while self.status < 200:  # an interim answer, such as 103; the one that was asked for comes behind it
            self.headers = self.msg = None  # type: ignore[assignment]  # not begun, says http.client
            super().begin()


class Answer:
    """An answer whose body is still to come. Its connection takes the next request once the body was read."""

    def __init__(
        self,
        response: BaseHTTPResponse,
        connection: HTTPConnection,
        idle: list[HTTPConnection],
        deadline: Deadline,
        peer: Peer,
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers  # of any case; what came twice is joined with commas
        self._response = response
        self._connection: HTTPConnection | None = connection  # until it was given back, or closed
        self._idle = idle
        self._deadline = deadline
        self._peer = peer

    def chunks(self) -> Iterator[bytes]:
        """The body, as it is on the wire: digests are taken over that.

        Raises:
            DeployError: the peer's own, where the connection, or the time, ended before the body did.
        """
        is_free = False
        try:
            for part in self._response.stream(CHUNK, decode_content=False):
                self._deadline.earn(len(part))
                yield part
            is_free = True
        except (OSError, HTTPError, http.client.HTTPException) as error:
            why = str(error.__cause__ or error)
            raise self._peer.failed(f"{self._peer.name} stopped in the middle of its answer.", why=why) from None
        finally:
            self._release(is_free=is_free)

    def read(self, most: int) -> bytes:
        """The whole body, of at most `most` bytes.

        Raises:
            DeployError: the peer's own, where it is longer, or ended too early.
        """
        content = bytearray()
        for part in self.chunks():
            content += part
            if len(content) > most:
                raise self._peer.failed(
                    f"{self._peer.name} answered with more than {most} bytes where that is not possible."
                )
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
            self._response.close()
            connection.close()


class Connections:
    """To any server; safe to use from several threads.

    Args:
        tls: whom to trust; asked for once, when it is needed.
        peer: who is asked.
    """

    def __init__(self, tls: Callable[[], ssl.SSLContext], peer: Peer) -> None:
        self._tls = tls
        self._peer = peer
        self._idle: defaultdict[str, list[HTTPConnection]] = defaultdict(list)

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: Body, deadline: Deadline) -> Answer:
        """One request, and its answer once its head is there.

        Raises:
            OSError: there was none.
            DeployError: the peer's own: a header has what no header can hold; such values come from it.
            UsageError: the proxy cannot be used.
        """
        parts = urlsplit(url)
        authority = parts.netloc.rpartition("@")[2]
        sent = {"Host": authority, "Accept-Encoding": "identity", **headers}  # digests are over what is on the wire
        if isinstance(body, bytes):
            sent["Content-Length"] = str(len(body))
        if not all(value.isascii() and value.isprintable() for value in sent.values()):
            raise self._peer.failed(f"{self._peer.name} gave something for the next request that no header can hold.")
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_LEGAL)
        idle = self._idle[f"{parts.scheme}://{authority}"]
        connection = _alive(idle) or self._new(parts)
        connection.response_class = partial(_Incoming, deadline)  # type: ignore[assignment]
        try:
            if connection.is_closed:
                connection.timeout = deadline.left(CONNECT)
                connection.connect()
            connection.timeout = deadline.left()
            content = _paced(body, connection, deadline) if body else None
            connection.request(method, target, content, sent, preload_content=False, decode_content=False)
            return Answer(connection.getresponse(), connection, idle, deadline, self._peer)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError) or not isinstance(error, (HTTPError, http.client.HTTPException)):
                raise
            cause = error.__cause__  # urllib3 tells of an OSError with an address of an object in front
            raise cause if isinstance(cause, OSError) else OSError(f"it does not speak HTTP: {error}") from None

    def _new(self, parts: SplitResult) -> HTTPConnection:
        host = parts.hostname or ""
        if parts.scheme != "https":
            return HTTPConnection(host, parts.port)
        address = _proxy_of(host)
        if not address:
            return HTTPSConnection(host, parts.port, ssl_context=self._tls())
        proxy = urlsplit(address if "://" in address else f"http://{address}")
        if proxy.scheme != "http":
            raise UsageError(
                f"the proxy {proxy.scheme}://{proxy.hostname} cannot be used.",
                why="Proxies are asked in HTTP, and pass TLS on unopened.",
                next_step=f"HTTPS_PROXY=http://HOST:PORT, or NO_PROXY for {self._peer.name}",
            )
        connection = HTTPSConnection(proxy.hostname or "", proxy.port or 80, ssl_context=self._tls())
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}" if proxy.username else None
        connection.set_tunnel(host, parts.port or 443, make_headers(proxy_basic_auth=login))
        return connection


def is_loopback(authority: str) -> bool:
    """Whether what is sent to `host[:port]` stays on this machine."""
    host = urlsplit(f"//{authority}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def asked_wait(answer: Answer, otherwise: float) -> float:
    """Seconds that the answer asks us to wait; RFC 9110, section 10.2.3: a number or a date."""
    written = answer.headers.get("retry-after", "").strip()
    try:
        return float(written) if written.isdigit() else parsedate_to_datetime(written).timestamp() - time.time()
    except ValueError:
        return otherwise


def _proxy_of(host: str) -> str:
    """The address of the proxy for a host, or empty."""
    return "" if is_loopback(host) or proxy_bypass(host) else getproxies().get("https", "")


def _paced(body: bytes | Iterator[bytes], connection: HTTPConnection, deadline: Deadline) -> Iterator[bytes]:
    for part in [body] if isinstance(body, bytes) else body:
        for begin in range(0, len(part), _WRITTEN):
            connection.sock.settimeout(deadline.left())
            yield part[begin : begin + _WRITTEN]
            deadline.earn(len(part[begin : begin + _WRITTEN]))


def _alive(idle: list[HTTPConnection]) -> HTTPConnection | None:
    """One that the other side has not closed meanwhile: nobody speaks unasked, so what can be read is the end."""
    while True:
        try:
            connection = idle.pop()
        except IndexError:  # another thread may have been faster
            return None
        if connection.is_connected:
            return connection
        connection.close()
