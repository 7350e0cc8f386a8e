"""What a person does who is new to it: an app of their own in a folder, `deploy init`, `deploy up`."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.testbed import TestHost

pytestmark = pytest.mark.root


def deploy(folder: Path, host: TestHost, *words: str) -> str:
    """What `deploy …` says in `folder` to who has logged in to `host` by hand before."""
    ssh = folder.parent / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "config").write_text(f"Host *\n  IdentityFile {host.identity}\n")
    (ssh / "known_hosts").write_text(f"{host.address} {host.host_key}\n")
    done = subprocess.run(
        [sys.executable, "-m", "provision.cli", *words],
        cwd=folder,
        env={**os.environ, "HOME": str(folder.parent), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("kind", "user", "target"),
    [
        ("supervisord", "root", {"platform": "supervisord", "path": "/workspace/shop"}),
        ("systemd", "root", {"platform": "systemd", "path": "/workspace/shop"}),
        ("systemd", "ann", {"platform": "systemd", "path": "/home/ann/shop", "user_units": True}),
    ],
)
def test_init_asks_the_host_what_starts_programs_there(
    kind: str, user: str, target: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    host: TestHost = request.getfixturevalue(f"{kind}_host")
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "main.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")

    said = deploy(folder, host, "init", "--on", f"{user}@{host.address}")

    assert "could not be looked at" not in said
    written = tomllib.loads((folder / "deploy.toml").read_text())
    assert written["targets"]["host"] == {**target, "hosts": [f"{user}@{host.address}"]}
