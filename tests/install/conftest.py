"""The wheel of this checkout, and people's homes into which it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
_LOCK = ROOT / "locks" / "run.txt"
_PIN = re.compile(r"^[A-Za-z0-9._-]+==[^\\\n]+", re.MULTILINE)


@dataclass(frozen=True)
class Home:
    """Somebody's home, and what a shell in it finds. Nothing there knows of this checkout."""

    folder: Path
    path: tuple[str, ...] = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

    def run(self, *words: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `words` there, to their end."""
        return subprocess.run(
            words,
            cwd=folder or self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def ok(self, *words: str | Path, folder: Path | None = None) -> str:
        """What `words`, which have to work, write to stdout."""
        done = self.run(*words, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def program(self, name: str) -> Path:
        return self.folder / ".local" / "bin" / name

    @property
    def environment(self) -> dict[str, str]:
        ours = ("PYTHON", "VIRTUAL_ENV", "XDG_", "VAST_", "DEPLOY_", "COV")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        # What was downloaded once is not downloaded again; that decides nothing but the time.
        caches = {"UV_CACHE_DIR": _said(UV, "cache", "dir"), "PIP_CACHE_DIR": _said(*_PIP, "cache", "dir")}
        path = os.pathsep.join([str(self.folder / ".local" / "bin"), *self.path])
        uv = {"UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "1"}  # a network that signs anew is no fault of ours
        return {**inherited, **caches, **uv, "HOME": str(self.folder), "PATH": path}


_PIP = (sys.executable, "-m", "pip")


@cache
def _said(*words: str | Path) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


_PIPX = (sys.executable, "-m", "pipx") if find_spec("pipx") else (UV, "tool", "run", "pipx")
_PYTHON = ("--python", Path(sys.executable).resolve())


def install(tool: str, home: Home, what: str, constraints: Path) -> None:
    """Install `what` as people do, with `uv` or with `pipx`, which itself uses pip, or uv where it is told to."""
    if tool == "uv":
        home.ok(UV, "tool", "install", *_PYTHON, "--constraints", constraints, what)
        return
    backend = tool.removeprefix("pipx-by-")
    if backend == "uv":
        home = Home(home.folder, path=(str(UV.parent), *home.path))
    home.ok(*_PIPX, "install", *_PYTHON, "--backend", backend, f"--pip-args=--constraint {constraints}", what)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, away from the checkout that it was built of."""
    folder = tmp_path_factory.mktemp("release")
    subprocess.run(
        [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder],
        cwd=ROOT,
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions that are tested here, so that no news of an index decides about this test."""
    pins = [pin.strip() for pin in _PIN.findall(_LOCK.read_text())]
    file = tmp_path_factory.mktemp("pins") / "constraints.txt"
    file.write_text("".join(f"{pin}\n" for pin in pins))
    return file
