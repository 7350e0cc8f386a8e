"""A Hub, and a project whose model is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provision.native.model import write_demo_model
from tests.models.lending_host import CONTENT, Host

TOKEN = "hf_a-token-that-nobody-else-sees"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """The stand-in that runs, and its folder."""

    url: str
    folder: Path

    def put(self, repository: str, file: str, content: bytes, commit: str = COMMIT) -> None:
        """A file of a repository at a commit, which is then `main`."""
        path = self.folder / repository / commit / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        main = self.folder / repository / "main"
        main.unlink(missing_ok=True)
        main.symlink_to(commit)

    def fail(self, *faults: str) -> None:
        """What happens to the next requests of files."""
        request = urllib.request.Request(f"{self.url}/control", json.dumps(faults).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=30).close()

    @property
    def asked(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/control", timeout=30) as answer:
            return json.load(answer)  # type: ignore[no-any-return]


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.models.hub", str(folder), TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield Hub(server.stdout.readline().strip(), folder)
        server.kill()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(tmp_path / "hub") as made:
        yield made


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """4 MB of a model that answers."""
    path = tmp_path_factory.mktemp("model") / "demo.gguf"
    write_demo_model(path)
    return path.read_bytes()


@pytest.fixture
def environ(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """What lets programs find the stand-in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {
        **inherited,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    found = [Host(tmp_path, f"host-{number}") for number in range(3)]
    yield found
    for host in found:
        host.end()


@pytest.fixture
def url(hub: Hub) -> str:
    hub.put("acme/big", "big.gguf", CONTENT)
    return f"{hub.url}/acme/big/resolve/main/big.gguf"
