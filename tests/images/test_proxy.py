"""Registries that are reached through a proxy, as companies have them."""

from __future__ import annotations

import base64
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from provision.errors import RegistryFailed, UsageError
from provision.images.registry.reference import parse
from provision.images.registry.repository import connect
from tests.images.make import image
from tests.images.registry import NAME


@dataclass
class Proxy:
    """Passes connections on to loopback, whatever host they are for."""

    authority: str
    opened: list[tuple[str, str]] = field(default_factory=list)  # for which host, with which login
    refuses: bool = False


@pytest.fixture
def tunnel() -> Iterator[Proxy]:
    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:  # the name that http.server looks for
            found.opened.append((self.path, self.headers.get("Proxy-Authorization", "")))
            if found.refuses:
                self.send_error(407)
                return
            with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as far:
                self.send_response(200)
                self.end_headers()
                _pump(self.connection, far)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Proxy(f"127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def _pump(one: socket.socket, other: socket.socket) -> None:
    ends = {one: other, other: one}
    while True:
        for end in select.select(list(ends), [], [])[0]:
            content = end.recv(1 << 16)
            if not content:
                return
            ends[end].sendall(content)


@pytest.fixture
def far(locked, name, monkeypatch):
    """A repository whose registry only the proxy finds."""
    for variable in ("NO_PROXY", "no_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    port = locked.authority.rpartition(":")[2]
    return connect(parse(f"{NAME}:{port}/{name}"), write=True, environ=locked.environ)


def test_the_proxy_passes_tls_on_and_one_tunnel_serves_many_requests(tunnel, far, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://ada:p%40ss@{tunnel.authority}")
    made = image(far, "canary")
    assert far.get("canary") == made
    ((host, login),) = tunnel.opened
    assert host == far.reference.registry
    assert base64.b64decode(login.removeprefix("Basic ")) == b"ada:p@ss"


def test_a_proxy_that_refuses_is_said(tunnel, far, monkeypatch):
    monkeypatch.setattr("provision.images.registry.wire._RETRIES", 0)
    monkeypatch.setenv("HTTPS_PROXY", tunnel.authority)
    tunnel.refuses = True
    with pytest.raises(RegistryFailed) as failure:
        far.find("canary")
    assert "407" in failure.value.why


def test_a_proxy_that_is_not_asked_in_http_is_refused_by_name(far, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.test:1080")
    with pytest.raises(UsageError, match=r"the proxy socks5://proxy\.test cannot be used"):
        far.find("canary")


def test_a_registry_on_loopback_is_asked_directly(repository, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:1")
    image(repository, "canary")
