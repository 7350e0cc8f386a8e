"""A small HTTP listener that gives `/healthz` and `/metrics`: of a watchdog, or of a runtime."""

from __future__ import annotations

import hmac
import ipaddress
import re
import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from bitnet.errors import PortTaken, UnsafeListener


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than `localhost` is not trusted to be."""
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_token(host: str, token: str) -> None:
    """Refuse to tell a network about this machine without being asked for by name.

    Raises:
        UnsafeListener: beyond loopback without a token.
    """
    if not (token or is_loopback(host)):
        raise UnsafeListener(
            f"{host}: will not serve metrics beyond loopback without a token",
            why="they tell whoever asks what this machine is and what it runs",
            next_step="set BITNET_METRICS_TOKEN (token= in Python), or listen on 127.0.0.1",
        )


def _refusal(headers: Message, token: str) -> tuple[int, bytes] | None:
    """The status, and a word for people, where this client is told no metrics."""
    if token:
        given = headers.get("Authorization", "").encode("latin-1")
        may = hmac.compare_digest(given, b"Bearer " + token.encode())
        return None if may else (401, b"send the token as Authorization: Bearer\n")
    # A page in a browser here may have let its own name lead to this address.
    if is_loopback(re.sub(r":\d{1,5}$", "", headers.get("Host", "localhost"))):
        return None
    return 403, b"without a token, ask by an address of loopback\n"


class Listener:
    """Serves while it is entered.

    Args:
        host, port: where; port 0 lets the system choose, see `.port`.
        metrics: asked for each `/metrics`: Prometheus' text.
        health: asked for each `/healthz`: whether all is well, and a word on it. 200 or 503.
        token: what `/metrics` wants as `Authorization: Bearer …`; empty for nothing.

    Raises:
        PortTaken: another program listens there, or the address cannot be used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Callable[[], bytes],
        health: Callable[[], tuple[bool, str]],
        *,
        token: str = "",
    ) -> None:
        class Answers(BaseHTTPRequestHandler):
            timeout = 10  # a client that says nothing must not hold a thread

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    if refused := _refusal(self.headers, token):
                        self._answer(*refused, "text/plain; charset=utf-8")
                    else:
                        self._answer(200, metrics(), "text/plain; version=0.0.4; charset=utf-8")
                elif self.path == "/healthz":
                    well, word = health()
                    self._answer(200 if well else 503, f"{word}\n".encode(), "text/plain; charset=utf-8")
                else:
                    self._answer(404, b"try /healthz or /metrics\n", "text/plain; charset=utf-8")

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", "Bearer")
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
                """Scrapes are not news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Answers)
        except OSError as error:
            raise PortTaken(
                f"cannot listen on {host}:{port}", why=str(error.strerror), next_step="give another --listen HOST:PORT"
            ) from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="listener", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
