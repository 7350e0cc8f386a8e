"""One connection to a server: HTTP/1.1, over TLS and through a proxy where it has to be.

What arrives is read by llhttp, Node's parser, through httptools. `http.client` reads headers as mail, and importing all
that for it takes longer than a promotion's requests.
"""

from __future__ import annotations

import base64
import select
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from provision.errors import RegistryFailed, UsageError

if TYPE_CHECKING:
    import ssl

CHUNK = 64 << 10  # bytes; of more, each small answer would have to give most back
CONNECT, _READ = 10.0, 120.0  # seconds
_LONGEST_HEAD = 64 << 10

Body = bytes | Iterator[bytes] | None


class BadAnswer(OSError):
    """What came is not HTTP, or not all of it came."""


class Connection:
    """A socket, and the answer that is read from it."""

    def __init__(self, own: socket.socket) -> None:
        self._socket = own

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: Body = None) -> Incoming:
        """Send a request; its answer once its head is there.

        Raises:
            OSError: there was none.
            RegistryFailed: a header has what no header can hold; such values come from registries.
        """
        self._socket.settimeout(_READ)
        sized = {"Content-Length": str(len(body))} if isinstance(body, bytes) else {}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in {**sized, **headers}.items())]
        if any(sign in line for line in lines for sign in "\r\n\0") or not "".join(lines).isascii():
            raise RegistryFailed("the registry gave something for the next request that no header can hold.")
        head = "\r\n".join([*lines, "", ""]).encode()
        if isinstance(body, bytes):
            self._socket.sendall(head + body)
        else:
            self._socket.sendall(head)
            for part in body or ():
                self._socket.sendall(part)
        answer = Incoming(self._socket, is_bodiless=method in {"HEAD", "CONNECT"})
        while not answer.status:
            answer.receive()
        return answer

    def cover(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on, with `host` alone."""
        self._socket.settimeout(CONNECT)
        self._socket = context.wrap_socket(self._socket, server_hostname=host)

    @property
    def has_ended(self) -> bool:
        """Whether the other side closed it: nobody speaks unasked, so what can be read is the end."""
        look = select.poll()
        look.register(self._socket, select.POLLIN)
        return bool(look.poll(0))

    def close(self) -> None:
        self._socket.close()


class Incoming:
    """An answer as it arrives; the methods `on_…` are for the parser.

    Attributes:
        status: 0 until the head is there.
        headers: by names in lower case; what was sent more than once is joined with commas (RFC 9110, section 5.3).
        is_complete: whether the body was read to its end.
        is_last: whether nothing else can be asked on this connection.
    """

    def __init__(self, source: socket.socket, *, is_bodiless: bool) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_complete = False
        self.is_last = True
        self._source = source
        self._is_bodiless = is_bodiless
        self._parser = HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._head = 0  # bytes

    def body(self) -> Iterator[bytes]:
        """The body, in parts as they arrive.

        Raises:
            OSError: the connection ended before the body did.
        """
        while True:
            yield from self._parts
            self._parts.clear()
            if self.is_complete:
                return
            self.receive()

    def receive(self) -> None:
        """Wait for more, and read it.

        Raises:
            OSError: nothing more comes, or what comes is no HTTP.
        """
        data = self._source.recv(CHUNK)
        if not data:
            if not self.status or {"content-length", "transfer-encoding"} & self.headers.keys():
                raise BadAnswer("it hung up before the end")
            self.is_complete = True  # such a body ends with its connection
            return
        self._head += 0 if self.status else len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.is_last = True
            if not self.is_complete:
                raise BadAnswer(f"it does not speak HTTP: {error}") from None
        if self._head > _LONGEST_HEAD and not self.status:
            raise BadAnswer("its headers do not end")

    def on_message_begin(self) -> None:
        # After one that was complete, the connection holds what nobody asked for; before, it was an interim answer.
        self.is_last = True
        if not self.status:
            self.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self.status and status >= 200:
            self.status = status
            if self._is_bodiless:
                self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        if self.is_complete:
            self.is_last = True
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self.status and not self.is_complete:
            self.is_complete = True
            self.is_last = not self._parser.should_keep_alive()


def connect(host: str, port: int, context: ssl.SSLContext | None, proxy: str) -> Connection:
    """A new connection, over TLS where there is a `context`, through `proxy` if that is not empty.

    Raises:
        OSError: there is none.
        UsageError: the proxy cannot be used.
    """
    through = _proxy(proxy) if proxy else None
    name, number = (through.hostname or "", through.port or 80) if through else (host, port)
    # As text it would be encoded as an international name, whose tables are imported for that.
    place: Any = (name.encode() if name.isascii() else name, number)
    own = socket.create_connection(place, timeout=CONNECT)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = Connection(own)
    try:
        if through:
            _tunnel(connection, through, f"{host}:{port}")
        if context:
            connection.cover(context, host)
    except BaseException:
        connection.close()
        raise
    return connection


def _proxy(address: str) -> SplitResult:
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme != "http":
        raise UsageError(
            f"the proxy {parts.scheme}://{parts.hostname} cannot be used.",
            why="Proxies are asked in HTTP, and pass TLS on unopened.",
            next_step="HTTPS_PROXY=http://HOST:PORT, or NO_PROXY for the registry",
        )
    return parts


def _tunnel(connection: Connection, proxy: SplitResult, authority: str) -> None:
    headers = {"Host": authority}
    if proxy.username:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    answer = connection.ask("CONNECT", authority, headers)
    if answer.status // 100 != 2:
        raise OSError(f"the proxy {proxy.hostname} answered {answer.status}")
