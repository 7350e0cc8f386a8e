"""A real nginx, and services behind it that tell which copy they are."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.cli.ports import free_ports

_PATIENCE = 30.0  # seconds

# `user root`: the test's folder is nobody else's.
_MAIN = """\
user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
include {folder}/modules-enabled/*.conf;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
}}
"""


def install(folder: Path, files: dict[str, str]) -> list[str]:
    """Put `files` where an nginx of `folder` reads them; the command that starts it."""
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode())
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
    return ["nginx", "-p", str(folder), "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]


def complaints(said: str) -> list[str]:
    """What `nginx -t` said that it did not have to say of the one spelling of HTTP/2 that every version reads."""
    expected = ("syntax is ok", "test is successful", '"listen ... http2" directive is deprecated')
    return [line for line in said.splitlines() if not any(words in line for words in expected)]


@contextlib.contextmanager
def nginx(folder: Path, files: dict[str, str]) -> Iterator[None]:
    """nginx with these files, serving."""
    with subprocess.Popen(install(folder, files), stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + _PATIENCE
            while not (folder / "nginx.pid").exists() or not (folder / "nginx.pid").read_text():
                assert process.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < until, "nginx does not start"
                time.sleep(0.005)
            yield
        finally:
            process.terminate()


class ByPath(http.client.HTTPConnection):
    """A connection to a socket file."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(str(self.path))


def free_port() -> int:
    """One that no connection outwards is given meanwhile."""
    return free_ports(1)[0]


@contextlib.contextmanager
def service(name: str, address: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[int, threading.Event]]:
    """A service that answers with its name and the headers that it got; its port.

    /stream sends a first word at once and the second only when the event is set.
    """
    go_on = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/stream":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"5\r\nfirst\r\n")
                go_on.wait(_PATIENCE)
                self.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")
                return
            body = f"{name}\n{self.headers}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port, go_on
    finally:
        server.shutdown()
        server.server_close()
