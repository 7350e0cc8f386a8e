"""Projects on the sandbox: a throwaway SSH host of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Sandbox:
    """A project's folder, and `deploy` in it."""

    root: Path
    place: Path
    environ: dict[str, str]

    def deploy(self, *words: str, target: str = "sandbox") -> str:
        """What `deploy WORDS` says; it has to succeed."""
        command = [sys.executable, "-m", "provision.cli", *words, *(["--target", target] if target else [])]
        done = subprocess.run(command, cwd=self.root, env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def programs(self) -> dict[str, Any]:
        """What runs, by name."""
        lines = map(json.loads, self.deploy("status", "--json").splitlines())
        (status,) = [line for line in lines if line["event"] == "status"]
        programs: dict[str, Any] = status["project"]["view"]["programs"]
        return programs


@contextmanager
def sandbox(environ: Mapping[str, str]) -> Iterator[Sandbox]:
    """A sandbox with a project's folder to be filled. Taken down in the end, whatever happened."""
    folder = Path(tempfile.mkdtemp(prefix="example-"))
    place = folder / "place"
    state = {"XDG_STATE_HOME": str(folder / "state"), "PLACE": str(place)}
    made = Sandbox(folder / "project", place, {**os.environ, **state, **environ})
    try:
        yield made
    finally:
        made.deploy("down")
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder)
