"""A real Temporal server (Temporal's own for development), and real workers of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = Path(sys.executable).parent
_WORKER = """
import asyncio, sys
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

@activity.defn
async def nothing() -> None: ...

async def main(address, queue, identity):
    client = await Client.connect(address, identity=identity)
    async with Worker(client, task_queue=queue, activities=[nothing]):
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def temporal_server(folder: Path) -> Iterator[str]:
    """Its address."""
    ports = [_free_port() for _ in range(3)]
    command = [PROGRAMS / "temporal", "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--log-level", "error"]
    flags = [f"--port={ports[0]}", f"--http-port={ports[1]}", f"--metrics-port={ports[2]}"]
    with (folder / "temporal.log").open("wb") as log:
        process = subprocess.Popen([*command, *flags], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        ask = [PROGRAMS / "temporal", "operator", "cluster", "health", "--address", f"127.0.0.1:{ports[0]}"]
        while subprocess.run(ask, capture_output=True).returncode:
            said = (folder / "temporal.log").read_text(errors="replace")
            assert process.poll() is None and time.monotonic() < deadline, f"no Temporal server started:\n{said}"
            time.sleep(0.1)
        yield f"127.0.0.1:{ports[0]}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def worker(address: str, queue: str, identity: str) -> Iterator[None]:
    """One that polls `queue` for activities; it may take a moment to come."""
    process = subprocess.Popen([sys.executable, "-c", _WORKER, address, queue, identity])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
