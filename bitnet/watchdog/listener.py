"""The watchdog's own `/healthz` and `/metrics`, for whoever watches the watchdog."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest

from bitnet.errors import PortTaken


class Listener:
    """Serves while it is entered.

    Args:
        host, port: where; port 0 lets the system choose, see `.port`.
        registry: what `/metrics` gives.
        health: asked for each `/healthz`: whether all is well, and a word on it. 200 or 503.

    Raises:
        PortTaken: another program listens there, or the address cannot be used.
    """

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, health: Callable[[], tuple[bool, str]]
    ) -> None:
        class Answers(BaseHTTPRequestHandler):
            timeout = 10  # a client that says nothing must not hold a thread

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8")
                elif self.path == "/healthz":
                    well, word = health()
                    self._answer(200 if well else 503, f"{word}\n".encode(), "text/plain; charset=utf-8")
                else:
                    self._answer(404, b"try /healthz or /metrics\n", "text/plain; charset=utf-8")

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
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
        threading.Thread(target=self._server.serve_forever, name="watchdog-listener", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
