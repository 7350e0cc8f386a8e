"""A person's machine: a checkout of the project, and real commands that can be ended at any moment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.world import SERVER
from tests.providers.conftest import KEY, Rental
from tests.testbed import TestHost

ROOT = Path(__file__).parents[2]
DECLARED = """
[project]
name = "cres"

[services.web]
command = ["python3", "server.py", "${{port}}"]
port = 8000
env = {{ VERSION = "1" }}
check = {{ http = "/health", interval = "50ms" }}

[targets.gpu]
provider = "vast"
path = "/workspace/cres"
identity = "{identity}"
[targets.gpu.needs]
gpu = ["RTX 4090"]
image = "app@sha256:{digest}"
ports = [8000]
[targets.gpu.accept]  # how fast a machine is that many tests share says nothing of what was offered
speed = 0.1
disk_writes = "1MB"
[targets.gpu.budget]
per_hour = 0.60
total = 25
until = "8h"
"""


def boot(host: TestHost, **more: Any) -> dict[str, Any]:
    """How a machine behaves that is this host."""
    return {"start": 10, "address": host.address, "port": 22, "inside": host.inside([]), **more}


@dataclass
class Laptop:
    """A folder with the project, and whose account is used from there."""

    folder: Path
    rental: Rental

    @classmethod
    def make(cls, folder: Path, rental: Rental, host: TestHost) -> Laptop:
        folder.mkdir(parents=True)
        shutil.copy(SERVER, folder)
        (folder / "deploy.toml").write_text(DECLARED.format(identity=host.identity, digest="0" * 64))
        (folder / ".env").write_text(f"VAST_HOST=\nVAST_API_KEY={KEY}\nVAST_URL={rental.url}\n")
        return cls(folder, rental)

    def change(self, before: str, after: str) -> None:
        """Edit the declaration."""
        file = self.folder / "deploy.toml"
        assert before in file.read_text()
        file.write_text(file.read_text().replace(before, after))

    def begin(self, *words: str, program: Path | None = None) -> subprocess.Popen[str]:
        """Start `deploy WORDS`, or another program of the checkout, with nothing but .env."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("VAST_", "STACK_"))}
        clock = " ".join(map(repr, self.rental.known()["clock"]))
        return subprocess.Popen(
            [sys.executable, "-m", "tests.providers.hurried", *words],
            cwd=self.folder,
            env={
                **kept,
                "XDG_STATE_HOME": f"{self.folder}-state",
                "PYTHONPATH": str(ROOT),
                "HURRIED": clock,
                "HURRIED_PROGRAM": str(program or ""),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """What a command says, and its exit code."""
        process = self.begin(*words, **more)
        output, complaints = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, output, complaints)

    def events(self, *words: str) -> list[dict[str, Any]]:
        """The events of a command that does what it is to do."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def rented(self) -> list[int]:
        """The machines that the next command knows of."""
        (told,) = self.events("machine", "list")
        return [each["id"] for each in told["machines"]]
