"""The page in a real Chromium while one host of two goes away.

Slow: `make test-slow`, or `pytest -m slow tests/page`. Left out where there is no Chromium (scripts/install-packages
browser).
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from provision.targets import sandbox
from tests.cli.conftest import Project
from tests.cli.ports import free_ports
from tests.page.browsing import CHROMIUM, SECONDS, looking
from tests.page.staged import staged

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: scripts/install-packages browser"),
]


class Cable:
    """What leads to a host, until it is cut: a port of this machine whose bytes go to another one."""

    def __init__(self, to: tuple[str, int]) -> None:
        (self.port,) = free_ports(1)
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._to)
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := one.recv(1 << 16):
                other.sendall(part)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)


@contextmanager
def two_ways(project: Project) -> Iterator[Cable]:
    """A target of two hosts that can be reached, one of them by a cable."""
    host = sandbox.spec(project.root)
    cable = Cable((host.address, host.port))
    known = Path(project.root, ".deploy/sandbox/ssh/known_hosts").read_text()
    Path(project.root, "both").write_text(known + known.replace(f":{host.port} ", f":{cable.port} "))
    with (project.root / "deploy.toml").open("a") as file:
        file.write(f"""
[targets.pair]
hosts = ["{host.user}@{host.address}:{host.port}", "{host.user}@{host.address}:{cable.port}"]
identity = "{project.root}/.deploy/sandbox/ssh/user_key"
known_hosts = "both"
path = "{project.place}"
""")
    try:
        yield cable
    finally:
        cable.cut()


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with staged("") as made:
        yield made


def test_a_host_that_goes_away_greys_out_alone(project: Project, browser: Browser) -> None:
    with two_ways(project) as cable, looking(project, browser) as seen:
        stays, goes = (
            seen.page.locator(f"article[aria-label$=':{port}']")
            for port in (sandbox.spec(project.root).port, cable.port)
        )
        for card in (stays, goes):
            expect(card).to_have_class(re.compile("host card good"), timeout=SECONDS)
        cable.cut()
        expect(goes).to_have_class(re.compile(r"\bstale\b"), timeout=SECONDS)
        expect(goes).to_contain_text("as it was")
        seen.page.wait_for_timeout(18_000)  # who has not answered for 15 s is old
        expect(stays).to_have_class(re.compile("host card good"))
        expect(stays).not_to_have_class(re.compile(r"\bstale\b"))
        assert seen.complaints == []
