"""A kubeconfig that says more than an address: a real API server, reached and asked as kubectl does."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.cluster.server import kubeconfig as read
from provision.cluster.server.client import Api
from provision.errors import Refused, UsageError
from tests.cluster.parts import KUBECTL
from tests.cluster.running import Cluster, kubeconfig


class _Proxy(socketserver.ThreadingTCPServer):
    """It speaks CONNECT, and remembers to where."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.asked: list[str] = []


class _Connection(socketserver.StreamRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        _, where, _ = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(where)
        host, _, port = where.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=_copy, args=(there, self.connection), daemon=True).start()
            _copy(self.connection, there)


def _copy(source: socket.socket, to: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def proxy() -> Iterator[_Proxy]:
    with _Proxy() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def asked(api_server: Cluster, file: Path, cluster: dict[str, str] | None = None, **user: Any) -> Api:
    """By a kubeconfig like the administrator's, with these keys besides."""
    known = json.loads(api_server.kubectl("config", "view", "--raw", "-o", "json"))
    there, who = known["clusters"][0]["cluster"], known["users"][0]["user"]
    file.write_text(json.dumps(kubeconfig({**there, **(cluster or {})}, {**who, **user})))
    return Api(None, file, "default")


def test_a_proxy_that_a_kubeconfig_names_is_gone_through(api_server: Cluster, proxy: _Proxy, tmp_path: Path) -> None:
    api = asked(api_server, tmp_path / "config", {"proxy-url": f"http://127.0.0.1:{proxy.server_address[1]}"})

    assert api.get("ConfigMap", "nothing") is None

    api.close()
    assert proxy.asked == [api.server.removeprefix("https://")]


def test_a_server_is_known_by_the_name_that_a_kubeconfig_says(api_server: Cluster, tmp_path: Path) -> None:
    """As through a tunnel, whose address is in nobody's certificate."""
    with socket.create_server(("127.0.0.2", 0)) as listens:
        port = listens.getsockname()[1]
        threading.Thread(target=_tunnel, args=(listens, api_server.api), daemon=True).start()
        there = {"server": f"https://127.0.0.2:{port}", "tls-server-name": "127.0.0.1"}
        api = asked(api_server, tmp_path / "config", there)

        assert api.get("ConfigMap", "nothing") is None
        api.close()


def _tunnel(listens: socket.socket, to: tuple[str, int]) -> None:
    came, _ = listens.accept()
    with came, socket.create_connection(to) as there:
        threading.Thread(target=_copy, args=(there, came), daemon=True).start()
        _copy(came, there)


def test_who_is_told_to_act_as_somebody_has_no_more_rights_than_they(api_server: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "config"
    api = asked(api_server, file, **{"as": "ann", "as-groups": ["some"]})
    shown = subprocess.run(
        [KUBECTL, "get", "secrets"], env={**os.environ, "KUBECONFIG": str(file)}, capture_output=True, text=True
    )

    with pytest.raises(Refused, match="the account may not") as refused:
        api.get("Secret", "nothing")

    api.close()
    assert 'User "ann" cannot' in refused.value.why
    assert 'User "ann" cannot' in shown.stderr


def test_a_proxy_that_nothing_here_can_speak_is_said(api_server: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SOCKS") as failure:
        asked(api_server, tmp_path / "config", {"proxy-url": "socks5://127.0.0.1:1"})

    assert failure.value.next_step == "pip install socksio"


def test_a_program_that_logs_in_and_never_ends_is_given_up_on(
    api_server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what it started holds on to its output."""
    monkeypatch.setattr(read, "_LOGIN_SECONDS", 1)
    program = tmp_path / "login"
    program.write_text("#!/bin/sh\nsleep 20\necho never\n")
    program.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    login = {"apiVersion": version, "command": str(program), "interactiveMode": "Never"}
    file = tmp_path / "config"
    there = json.loads(api_server.kubectl("config", "view", "--raw", "-o", "json"))["clusters"][0]["cluster"]
    file.write_text(json.dumps(kubeconfig(there, {"exec": login})))
    api, began = Api(None, file, "default"), time.monotonic()

    with pytest.raises(Refused, match="nobody could be logged in") as refused:
        api.get("ConfigMap", "nothing")

    api.close()
    assert time.monotonic() - began < 10
    assert refused.value.why == f"{program} did not end in 1 s"
