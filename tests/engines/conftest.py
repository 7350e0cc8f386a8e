"""llama-server from the wheel, started as users start it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from provision.native.model import write_demo_model
from tests.cli.ports import free_ports

PROGRAM = Path(__file__).parents[2] / "bitnet" / "llama_server.py"
_PATIENCE_SECONDS = 60.0

Starts = Callable[..., "Server"]


@dataclass
class Server:
    """A llama-server that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, path: str, body: bytes | None = None, key: str = "") -> tuple[int, bytes]:
        """Status and body of one answer; 0 where nobody listens."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def wait(self) -> Server:
        """Until it is healthy."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.ask("/health")[0] != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return self


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model."""
    path = tmp_path_factory.mktemp("model") / "demo.gguf"
    write_demo_model(path)
    return path


@pytest.fixture
def start(tmp_path: Path, model: Path) -> Iterator[Starts]:
    """`start(*options, program=…, environ=…)`: a server on a free port with the demo's model; ended afterwards."""
    running: list[subprocess.Popen[bytes]] = []

    def start(
        *options: str,
        program: tuple[str, ...] = (sys.executable, str(PROGRAM)),
        environ: Mapping[str, str] | None = None,
    ) -> Server:
        (port,) = free_ports(1)
        log = tmp_path / f"{port}.log"
        command = [*program, "--model", str(model), "--port", str(port), "--threads", "1", *options]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env={**os.environ, **(environ or {})}
            )
        running.append(process)
        return Server(process, port, log)

    yield start
    for process in running:
        process.kill()
        process.wait()


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """After the block the process ends by itself."""
    yield
    process.wait(_PATIENCE_SECONDS)
