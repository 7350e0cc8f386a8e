"""The ports that the documented examples name."""

from __future__ import annotations

import fcntl
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_PORTS = (8080, 50051)
_SECONDS = 60


@pytest.fixture
def example_ports() -> Iterator[None]:
    """Nobody else listens there: no other test, at once with this one or just before it."""
    with (Path(tempfile.gettempdir()) / "bitnet-example-ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for port in _PORTS:
            _wait_until_free(port)
        yield


def _wait_until_free(port: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_server(("0.0.0.0", port)).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"port {port} stays taken"
            time.sleep(0.2)
