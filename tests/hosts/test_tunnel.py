import contextlib
import http.server
import socket
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from provision.errors import UsageError
from provision.hosts import HostConnection

BODY = b"x" * 1_000_000


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture(scope="module")
def page() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def get(port: int) -> bytes:
    body: bytes = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20).read()
    return body


def test_a_tunnel_leads_to_the_hosts_port(host: HostConnection, page: int) -> None:
    with host.forward(page) as tunnel, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(get, [tunnel.local_port] * 16)) == [BODY] * 16


def test_each_side_of_a_tunnel_can_end_before_the_other(host: HostConnection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, host.forward(server.getsockname()[1]) as tunnel:
        client = socket.create_connection(("127.0.0.1", tunnel.local_port))
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        served, _ = server.accept()
        assert served.makefile("rb").read() == b"question"
        served.sendall(b"answer after the end of the question")
        served.close()
        assert client.makefile("rb").read() == b"answer after the end of the question"
        client.close()


def test_a_port_where_nobody_listens_ends_the_connection_and_tells_why(host: HostConnection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with host.forward(port) as tunnel:
        client = socket.create_connection(("127.0.0.1", tunnel.local_port))
        assert client.makefile("rb").read() == b""
        assert f"cannot reach 127.0.0.1:{port} from the host" in str(tunnel.last_error)
        client.close()


def test_a_closed_tunnel_listens_no_more(host: HostConnection, page: int) -> None:
    with host.forward(page) as tunnel:
        port = tunnel.local_port
        idle = socket.create_connection(("127.0.0.1", port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with contextlib.suppress(ConnectionResetError):  # as good an end as any
        assert idle.recv(1) == b""
    idle.close()


def test_a_taken_local_port_is_a_usage_error(host: HostConnection, page: int) -> None:
    with pytest.raises(UsageError, match="cannot listen"):
        host.forward(page, page)
