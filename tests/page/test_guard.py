"""Who is let in, and what a browser may do with the page: tried on a real server, as an attacker would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from tests.cli.conftest import Project
from tests.page.conftest import Ui, served

HERE = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


def test_the_address_opens_the_page_once(ui: Ui) -> None:
    used = ui.url
    with ui.browser() as client:
        assert client.get("/").status_code == 200
    with httpx.Client(base_url=ui.base) as thief:
        assert thief.get(used).status_code == 403
        assert thief.get("/").status_code == 403
        assert thief.get("/static/page.js").status_code == 403


def test_what_the_address_gives_is_a_cookie_that_no_script_reads_and_no_other_site_sends(ui: Ui) -> None:
    with httpx.Client() as client:
        cookie = client.get(ui.url).headers["set-cookie"]
    ui.url = ui.another()
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1:1",
        "localhost.evil.example:{port}",
        "",
        "[::1]x:{port}",
        "127.0.0.1:\xb2",
        "127.0.0.1:" + 5000 * "1",
    ],
)
def test_a_stranger_s_name_that_leads_here_is_refused(ui: Ui, client: httpx.Client, host: str) -> None:
    """DNS rebinding: the browser takes the attacker's page and this one for the same site."""
    assert client.get("/", headers={"Host": host.format(port=ui.port).encode("latin-1")}).status_code in (400, 421)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "LOCALHOST"])
def test_this_machine_s_own_names_are_let_in(ui: Ui, client: httpx.Client, name: str) -> None:
    assert client.get("/", headers={"Host": f"{name}:{ui.port}"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/", "/live/", "/lines?target=sandbox&channel=stable", "/static/page.js"])
def test_another_page_s_script_reads_nothing(client: httpx.Client, site: str, path: str) -> None:
    """Not even one on another port of this machine, with which the browser sends the cookie."""
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
    assert client.get(path, headers=headers).status_code == 403
    frame = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert client.get(path, headers=frame).status_code == 403


def test_a_link_that_somebody_follows_is_let_in(client: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "{base}", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "{base}", "Sec-Fetch-Site": "same-origin"}, 405),  # nothing here takes it
    ],
)
def test_who_would_change_something_has_to_be_a_page_of_ours(
    ui: Ui, client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    headers = {name: value.format(base=ui.base) for name, value in headers.items()}
    assert client.post("/", headers=headers).status_code == status


def test_no_page_frames_it_and_nothing_is_loaded_from_elsewhere(client: httpx.Client) -> None:
    headers = client.get("/").headers
    policy = dict(each.strip().partition(" ")[::2] for each in headers["content-security-policy"].split(";"))
    assert policy["frame-ancestors"] == policy["default-src"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"


def test_yesterday_s_cookie_is_refused(project: Project, ui: Ui) -> None:
    """Of another run of the program on the same port, which the browser sends along."""
    port = ui.port + 1
    with served(project, "--port", str(port)) as first, first.browser() as client:
        cookies = client.cookies
        assert client.get("/").status_code == 200
    with (
        served(project, "--port", str(port)) as second,
        httpx.Client(base_url=second.base, cookies=cookies) as client,
    ):
        assert client.get("/").status_code == 403


def test_a_thousand_connections_do_not_end_it(ui: Ui, client: httpx.Client) -> None:
    with ExitStack() as opened, client.stream("GET", "/live/", headers=HERE) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry:")
        for _ in range(1000):
            crowd = opened.enter_context(socket.socket())
            crowd.settimeout(5)
            crowd.connect(("127.0.0.1", ui.port))
        assert any(line.startswith("data:") for line in lines)  # who was there goes on to hear
        # Who asks for nothing is let go, while all of them still hold their end.
        until = time.monotonic() + 40
        status = 0
        while status != 200 and time.monotonic() < until:
            try:
                status = httpx.get(f"{ui.base}/", cookies=client.cookies, timeout=10).status_code
            except httpx.TransportError:
                time.sleep(0.5)
        assert status == 200


@pytest.mark.root
@pytest.mark.parametrize(("address", "family"), [("127.0.0.1", "AF_INET"), ("::ffff:127.0.0.1", "AF_INET6")])
def test_another_account_of_this_machine_is_not_heard_whatever_it_has_seen(ui: Ui, address: str, family: str) -> None:
    """It has the one-time address, from the list of processes; a browser's own account still comes by it."""
    asks = (
        f"import socket; s = socket.socket(socket.{family}); s.settimeout(10); s.connect(({address!r}, {ui.port}));"
        f"s.sendall(b'GET {urlsplit(ui.url).path} HTTP/1.1\\r\\nHost: 127.0.0.1:{ui.port}\\r\\n\\r\\n');"
        "print(s.recv(99))"
    )
    told = subprocess.run(["/usr/bin/python3", "-Ic", asks], user=65534, group=65534, capture_output=True, text=True)
    assert told.stdout.strip() in ("b''", "")
    assert "200" not in told.stdout
    with ui.browser() as client:
        assert client.get("/").status_code == 200


@pytest.mark.root
def test_another_account_that_leaves_before_it_is_heard_is_not_taken_for_root(ui: Ui) -> None:
    """What it sent is there to be read, and its end of the connection belongs to nobody any more."""
    asked = f"GET {urlsplit(ui.url).path} HTTP/1.1\r\nHost: 127.0.0.1:{ui.port}\r\n\r\n"
    asks = (
        "import socket\n"
        "for _ in range(20):\n"
        f"    s = socket.socket(); s.connect(('127.0.0.1', {ui.port})); s.sendall({asked.encode()!r}); s.close()\n"
    )
    os.kill(ui.process.pid, signal.SIGSTOP)
    try:
        subprocess.run(["/usr/bin/python3", "-Ic", asks], user=65534, group=65534, check=True, timeout=10)
    finally:
        os.kill(ui.process.pid, signal.SIGCONT)
    with ui.browser() as client:  # the one-time address is unused
        assert client.get("/").status_code == 200


def test_it_listens_on_this_machine_alone(ui: Ui) -> None:
    shown = subprocess.run(["ss", "-Htln", f"sport = :{ui.port}"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[3] for line in shown.splitlines()] == [f"127.0.0.1:{ui.port}"]


def test_at_a_socket_this_account_alone_comes_in(project: Project) -> None:
    path = project.root.parent / "page.sock"
    with served(project, "--socket", str(path)) as ui:
        assert path.stat().st_mode & 0o777 == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get(ui.url).status_code == 200
            assert client.get("http://localhost:9000/").status_code == 200  # as ssh -L has it
            assert client.get("http://evil.example/").status_code == 421
    assert not path.exists()
