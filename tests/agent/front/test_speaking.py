"""What clients speak: TLS, HTTP/2, WebSockets, plain TCP, large bodies."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from provision.agent.front.values import DRAIN, TCP, Backend, Bind, Certificate, Front, Route
from tests.agent.front.stand import PATIENCE, Answered, Stand, ask
from tests.faults.hooks import until


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chain and key in one file, as HAProxy reads it."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=www.example.net", "-addext", "subjectAltName=DNS:www.example.net"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "chain"), "-days", "2"]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "chain").read_text() + (folder / "key").read_text())
    return both


def _over_tls(stand: Stand, certificate: Path, *programs: str) -> Front:
    front = stand.front(*map(stand.server, programs))
    return front._replace(binds=(front.binds[0]._replace(certificates=(Certificate(str(certificate)),)),))


def _curl(stand: Stand, certificate: Path, *more: str) -> subprocess.Popen[str]:
    where = ["--resolve", f"www.example.net:{stand.port}:127.0.0.1", "--cacert", str(certificate)]
    url = f"https://www.example.net:{stand.port}"
    command = ["curl", "-sS", "--max-time", str(PATIENCE), *where, *more]
    return subprocess.Popen([each.replace("URL", url) for each in command], stdout=subprocess.PIPE, text=True)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_tls_and_http_2_reach_a_program_that_speaks_neither(stand, certificate):
    stand.start("a")
    stand.serve(_over_tls(stand, certificate, "a"))

    out, _ = _curl(
        stand, certificate, "--http2", "-w", " %{http_version} %header{strict-transport-security}", "URL/x"
    ).communicate()

    assert '"program": "a"' in out
    assert '"x-forwarded-proto": "https"' in out
    assert out.endswith("} 2 max-age=31536000")
    with pytest.raises(ssl.SSLError):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", stand.port)) as plain:
            old.wrap_socket(plain)


def test_a_reload_ends_no_request_of_http_2_and_its_client_is_still_seen_as_itself(stand, certificate):
    stand.start(*"ab")
    stand.serve(_over_tls(stand, certificate, "a"))
    kept = http.client.HTTPSConnection(
        "127.0.0.1",
        stand.port,
        timeout=PATIENCE,
        context=ssl._create_unverified_context(),
    )
    assert ask(kept).program == "a"
    slow = _curl(stand, certificate, "--http2", "URL/?wait=1")
    until(lambda: not stand.runtime.drained("api", "a"), "it is on its way", PATIENCE)

    front = _over_tls(stand, certificate, "a", "b")
    first, second = front.backends[0].servers
    servers = (first._replace(state=DRAIN), second)
    stand.runtime.become(front._replace(backends=(front.backends[0]._replace(servers=servers),)))

    handed_on = ask(kept, X_Forwarded_For="6.6.6.6")
    assert handed_on.program == "b"
    assert handed_on.said["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert handed_on.said["headers"]["x-forwarded-proto"] == "https"
    assert '"program": "a"' in slow.communicate()[0]
    kept.close()


def test_events_over_http_2_come_one_by_one_and_to_the_last_through_a_switch_and_a_reload(stand, certificate):
    stand.start(*"ab")
    front = _over_tls(stand, certificate, "a", "b")
    (backend,) = front.backends
    first, second = backend.servers
    stand.serve(front._replace(backends=(backend._replace(servers=(first, second._replace(state=DRAIN))),)))
    told = stand.folder / "told"
    reader = _curl(stand, certificate, "--http2", "-N", f"URL/stream?until={told}")
    assert reader.stdout is not None
    came = [reader.stdout.readline()]  # at once, though the answer goes on

    switched = front._replace(backends=(backend._replace(servers=(first._replace(state=DRAIN), second)),))
    stand.runtime.become(switched)
    assert _ask_over_tls(stand).program == "b"
    stand.runtime.become(switched._replace(name="another"))  # with its structure HAProxy is reloaded
    assert _ask_over_tls(stand).program == "b"
    told.touch()
    came += reader.communicate()[0].splitlines(keepends=True)

    events = [line.strip() for line in came if line.strip()]
    last = len(events) - 1
    assert events == [*(f"data: a {number}" for number in range(last)), f"data: a {last} last"]


def _ask_over_tls(stand: Stand) -> Answered:
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", stand.port, timeout=PATIENCE, context=context)
    try:
        return ask(connection)
    finally:
        connection.close()


def test_a_program_is_told_who_asks_whatever_the_client_says_and_whatever_changes(stand):
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b", state=DRAIN)
    stand.serve(stand.front(a, b))
    kept = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=PATIENCE, source_address=("127.0.0.9", 0))

    def who() -> tuple[str, str]:
        answer = ask(kept, X_Forwarded_For="6.6.6.6")
        return answer.program, answer.said["headers"]["x-forwarded-for"]

    assert who() == ("a", "127.0.0.9")
    stand.runtime.become(stand.front(a._replace(state=DRAIN), b._replace(state="ready")))
    assert who() == ("b", "127.0.0.9")
    stand.runtime.become(stand.front(b._replace(state="ready")))
    assert who() == ("b", "127.0.0.9")
    kept.close()


def test_a_websocket_stays_open_through_a_switch_and_a_reload(stand):
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b")
    stand.serve(stand.front(a))
    key = base64.b64encode(os.urandom(16)).decode()
    asked = f"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"

    with (
        socket.create_connection(("127.0.0.1", stand.port), timeout=PATIENCE) as client,
        client.makefile("rb") as answer,
    ):
        client.sendall(asked.encode() + b"Sec-WebSocket-Version: 13\r\n\r\n")
        lines = list(iter(answer.readline, b"\r\n"))
        assert lines[0].startswith(b"HTTP/1.1 101")
        accepted = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        assert any(line.lower().startswith(b"sec-websocket-accept:") and accepted in line for line in lines)
        stand.runtime.become(stand.front(a._replace(state=DRAIN), b))
        client.sendall(b"still there?")
        assert answer.read(len("a:still there?")) == b"a:still there?"
        assert not stand.runtime.drained("api", "a")
        assert stand.get().program == "b"
    until(lambda: stand.runtime.drained("api", "a"), "it was closed", PATIENCE)


def test_a_large_body_that_was_held_arrives_whole(stand):
    stand.start("a")
    front = stand.front(stand.server("a"))
    stand.serve(stand.front(stand.server("a"), held=True))
    body = os.urandom(3_000_000)
    found: list[Answered] = []
    client = threading.Thread(target=lambda: found.append(stand.post(body)))
    client.start()
    until(lambda: stand.runtime.held("api") == 1, "it waits", PATIENCE)

    stand.runtime.become(front)
    client.join()

    assert found[0].said == {"program": "a", "sha256": hashlib.sha256(body).hexdigest()}


def test_a_service_of_plain_tcp_is_switched_and_held_like_any_other(stand):
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b", state=DRAIN)

    def front(*servers: object, **more: object) -> Front:
        binds = (Bind(stand.port, (Route("db"),), "127.0.0.1"),)
        return Front(str(stand.folder), "shop", binds, (Backend("db", servers, mode=TCP, **more),))

    stand.serve(front(a, b, hold_requests=1))
    kept = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=PATIENCE)
    assert ask(kept).program == "a"
    stand.runtime.become(front(a, b, held=True, hold_requests=1))
    found: list[Answered] = []
    client = threading.Thread(target=lambda: found.append(stand.get()))
    client.start()
    until(lambda: stand.runtime.held("db") == 1, "it waits", PATIENCE)
    assert stand.get().status == 0  # one more than may wait

    stand.runtime.become(front(a._replace(state=DRAIN), b._replace(state="ready"), hold_requests=1))
    client.join()

    assert found[0].program == "b"
    assert ask(kept).program == "a"
    assert not stand.runtime.drained("db", "a")
    kept.close()
    until(lambda: stand.runtime.drained("db", "a"), "it was closed", PATIENCE)


def test_a_client_of_tcp_keeps_its_lane_by_its_address(stand):
    stand.start(*"ac")
    binds = (Bind(stand.port, (Route("db"),), "127.0.0.1"),)
    servers = (stand.server("a"), stand.server("c", lane="canary"))
    backend = Backend("db", servers, mode=TCP, shares=(("canary", 10_000),))
    front = Front(str(stand.folder), "shop", binds, (backend,))
    stand.serve(front)
    assert {stand.get().program for _ in range(5)} == {"c"}

    stand.runtime.become(front._replace(backends=(backend._replace(shares=(("canary", 0),)),)))

    assert {stand.get().program for _ in range(5)} == {"a"}
