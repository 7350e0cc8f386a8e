"""A project that is deployed, and its page: `deploy ui` in a process of its own, and a browser's way in."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.cli.conftest import Project, make_project
from tests.faults.hooks import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Markup and an escape sequence in what services write, and a host that nobody answers at.
NOISE = "<script>alert(1)</script> \x1b[2J\x1b]0;mine\x07 \u202egnirts"
AWAY = """
[targets.away]
hosts = ["nobody@127.0.0.1:1"]
path = "/srv/away"
"""


@dataclass
class Ui:
    """`deploy ui`, as it runs."""

    process: subprocess.Popen[str]
    url: str  # opens it once
    project: Project

    @property
    def base(self) -> str:
        return self.url.partition("/enter/")[0]

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 80

    def another(self) -> str:
        """The next address, after one was used up."""
        return str(self._told()["url"])

    def _told(self) -> dict[str, Any]:
        assert self.process.stdout
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    @contextmanager
    def browser(self) -> Iterator[httpx.Client]:
        """One that came by the address, and has the cookie."""
        with httpx.Client(base_url=self.base, timeout=30) as client:
            assert client.get(self.url).status_code == 200
            self.url = self.another()
            yield client


def start(project: Project, *words: str) -> Ui:
    process = project.start("ui", "--no-open", "--json", *words)
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return Ui(process, json.loads(line)["url"], project)


def stop(ui: Ui) -> str:
    """End it as a person does; what it said to people, once."""
    if ui.process.returncode is not None:
        return ""
    ui.process.send_signal(signal.SIGINT)
    _, said = ui.process.communicate(timeout=20)
    return said


@contextmanager
def served(project: Project, *words: str) -> Iterator[Ui]:
    """`deploy ui` while this lasts, whatever fails meanwhile."""
    ui = start(project, *words)
    try:
        yield ui
    finally:
        stop(ui)


def shows(client: httpx.Client, path: str, text: str, seconds: float = 30.0) -> str:
    """The page at `path`, once it has `text`."""
    page = ""

    def there() -> bool:
        nonlocal page
        page = client.get(path).text
        return text in page

    until(there, f"{path} shows {text}", seconds)
    return page


def _add_half(project: Project) -> None:
    """A target of two hosts, of which one is gone."""
    from provision.targets import sandbox

    host = sandbox.spec(project.root)
    with (project.root / "deploy.toml").open("a") as file:
        file.write(f"""
[targets.half]
hosts = ["{host.user}@{host.address}:{host.port}", "nobody@127.0.0.1:1"]
identity = "{project.root}/.deploy/sandbox/ssh/user_key"
known_hosts = "{project.root}/.deploy/sandbox/ssh/known_hosts"
path = "{project.place}"
""")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real one."""
    from tests.page.browsing import chromium  # which is made of what is here

    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def project() -> Iterator[Project]:
    """One that is up, whose last deploy was put back, and whose service writes what nobody should obey."""
    for made in make_project():
        made.write(extra=AWAY)
        web = made.root / "web.py"
        web.write_text(web.read_text().replace('"asked for"', repr("asked for " + NOISE)))
        made.ok("up", "--target", "sandbox")
        web.write_text(web.read_text().replace("STATUS = 200", "STATUS = 500"))
        assert made.run("up", "--target", "sandbox").returncode == 1
        _add_half(made)
        yield made


@pytest.fixture(scope="session")
def ui(project: Project) -> Iterator[Ui]:
    with served(project) as found:
        yield found


@pytest.fixture
def client(ui: Ui) -> Iterator[httpx.Client]:
    with ui.browser() as client:
        yield client
