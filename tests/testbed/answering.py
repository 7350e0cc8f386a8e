"""A server that a test started is waited for, for as long as its process lives."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import httpx


def until(attempt: Any, process: subprocess.Popen[bytes], log: Path) -> Any:
    """What `attempt` gives, once it gives something and its server answers; `process` lives until then."""
    deadline = time.monotonic() + 300
    while True:
        try:
            if found := attempt():
                return found
        except httpx.TransportError:
            pass
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
