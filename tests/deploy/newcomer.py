"""A person who is new to it: an app of their own in a folder, `deploy init`, `deploy up`, and a line that changes."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from provision.caches import caches
from provision.events import ignore
from provision.project.python import Python
from provision.release import lock
from provision.release.wheels import collected
from provision.targets import sandbox
from tests.cli.ports import free_ports
from tests.testbed import TestHost

APP = """\
import pandas as pd
from fastapi import FastAPI

app = FastAPI()
prices = pd.DataFrame({"item": ["tea", "cup"], "price": [3, 12]})


@app.get("/")
def total():
    return {"total": int(prices["price"].sum()), "pandas": pd.__version__, "line": "first"}
"""
REQUIREMENTS = "fastapi\nuvicorn\npandas\n"
PROBE = """
import json, os, platform
print(json.dumps([os.uname().machine, os.confstr("CS_GNU_LIBC_VERSION"), platform.python_version()]))
"""


@dataclass
class Newcomer:
    """Their folder `shop`, in a home of its own, and where they deploy to: a host, or the sandbox."""

    home: Path
    host: TestHost | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "main.py").write_text(APP)
        (self.folder / "requirements.txt").write_text(REQUIREMENTS)
        if self.host:  # whom they have logged in to by hand before
            ssh = self.home / ".ssh"
            ssh.mkdir(mode=0o700)
            (ssh / "config").write_text(f"Host *\n  IdentityFile {self.host.identity}\n")
            (ssh / "known_hosts").write_text(f"{self.host.address} {self.host.host_key}\n")

    @property
    def folder(self) -> Path:
        return self.home / "shop"

    def deploy(self, *words: str) -> tuple[str, float]:
        """What `deploy …` says, and how many seconds it took."""
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "provision.cli", *words],
            cwd=self.folder,
            # What was fetched once is there.
            env={**os.environ, "HOME": str(self.home), "XDG_CACHE_HOME": str(caches().parent), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        seconds = time.perf_counter() - began
        assert done.returncode == 0, done.stdout
        return done.stdout, seconds

    def init(self, user: str = "root", *words: str) -> str:
        """Their first command; on this machine somebody else may have the port that it proposes."""
        said, _ = self.deploy(
            "init", "--yes", "--on", f"{user}@{self.host.address}" if self.host else "sandbox", *words
        )
        if not self.host:
            file = self.folder / "deploy.toml"
            file.write_text(file.read_text().replace("port = 8000", f"port = {free_ports(1)[0]}"))
        return said

    def change_a_line(self) -> None:
        file = self.folder / "main.py"
        file.write_text(file.read_text().replace('"line": "first"', '"line": "second"'))

    def answer(self) -> dict[str, object]:
        """What users get."""
        port = re.search(r"^port = (\d+)", (self.folder / "deploy.toml").read_text(), re.MULTILINE)
        assert port
        ask = ["curl", "-fsS", "-m", "15", f"http://127.0.0.1:{port[1]}/"]
        ran = self.host.exec(ask).stdout if self.host else subprocess.run(ask, capture_output=True, text=True).stdout
        return dict(json.loads(ran))

    def leave(self) -> None:
        """The sandbox ends, and their home goes."""
        if not self.host:
            sandbox.stop(self.folder)
        for path in self.home.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)  # releases are read-only
        shutil.rmtree(self.home)


@contextmanager
def index(host: TestHost) -> Iterator[None]:
    """While `host` has a package index in its network, and is told of it as its administrator would.

    It has what the app needs there: the files that the real index has.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "requirements.txt").write_text(REQUIREMENTS)
        python = Python(requirements=("requirements.txt",))
        lock.renew(python, folder, {}, ignore)
        machine, libc, version = json.loads(host.exec(["python3", "-c", PROBE]).stdout)
        found = {"machine": machine, "libc": libc, "version": version}
        wheels = collected(lock.read(python, folder).requirements, {"event": "result", **found}, {})  # type: ignore[typeddict-item]
        for wheel in wheels:
            place = folder / "simple" / re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
            place.mkdir(parents=True, exist_ok=True)
            (place / wheel.name).symlink_to(wheel)
        handler = partial(_Quiet, directory=scratch)
        with http.server.ThreadingHTTPServer((host.slot.gateway, 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://{host.slot.gateway}:{server.server_port}/simple"
            host.write("/etc/uv/uv.toml", f'[[index]]\nurl = "{url}"\ndefault = true\n')
            try:
                yield
            finally:
                host.exec(["rm", "-r", "/etc/uv"])
                server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """A folder's listing is a page of links, which is what an index has ("Simple repository API")."""

    def log_message(self, *words: object) -> None:
        pass
