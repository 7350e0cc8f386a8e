"""A small project, and the real command line in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cli.github_api import GitHub
from tests.cli.ports import free_ports

DEPLOY = [sys.executable, "-m", "provision.cli"]

WEB = """\
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "one"
STATUS = 200


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(STATUS)
        self.send_header("Content-Length", str(len(VERSION)))
        self.end_headers()
        self.wfile.write(VERSION.encode())

    def log_message(self, *args):
        print("asked for", self.path, flush=True)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Web).serve_forever()
"""


@dataclass
class Project:
    """A web service, declared for the sandbox."""

    root: Path
    port: int
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """Where it is deployed to."""
        return self.root.parent / "place"

    def write(self, *, version: str = "one", status: int = 200, timeout: str = "10s", extra: str = "") -> None:
        source = WEB.replace('"one"', repr(version)).replace("STATUS = 200", f"STATUS = {status}")
        (self.root / "web.py").write_text(source)
        (self.root / "deploy.toml").write_text(
            f"""\
[project]
name = "small"

[services.web]
command = ["python3", "web.py", "${{port}}"]
port = {self.port}
check = {{ http = "/", timeout = "{timeout}", interval = "50ms" }}
{extra}
[targets.sandbox]
hosts = ["sandbox"]
path = "{self.place}"
"""
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*DEPLOY, *words],
            cwd=self.root,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*DEPLOY, *words],
            cwd=self.root,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ok(self, *words: str) -> str:
        """What a verb that has to work writes to stdout."""
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def events(self, *words: str) -> list[dict[str, Any]]:
        """The events of a verb; every line of stdout has to be one, and nothing may stand on stderr."""
        at = words.index("--") if "--" in words else len(words)
        done = self.run(*words[:at], "--json", *words[at:])
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]

    @property
    def _environ(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VAST_", "DEPLOY_"))}
        return {**inherited, "XDG_STATE_HOME": str(self.root.parent / "state"), **self.environ}


def make_project(below: str = "") -> Iterator[Project]:
    top = Path(tempfile.mkdtemp(prefix="cli-"))
    folder = top / below
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "project"
    root.mkdir()
    (port,) = free_ports(1)
    project = Project(root, port)
    project.write()
    yield project
    from provision.targets import sandbox

    sandbox.stop(root)
    for path in top.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)  # releases are read-only
    shutil.rmtree(top)


def answer(port: int) -> str:
    """What the service of such a project says there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
        return response.read().decode()


@pytest.fixture
def project() -> Iterator[Project]:
    yield from make_project()


@pytest.fixture(scope="module")
def served() -> Iterator[Project]:
    """A project that is up; for tests that only look."""
    for project in make_project():
        project.ok("up")
        yield project


@pytest.fixture
def github() -> Iterator[GitHub]:
    github = GitHub()
    yield github
    github.server.shutdown()
    github.server.server_close()


def of(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]
