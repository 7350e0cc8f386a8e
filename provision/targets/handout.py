"""A model that lies here, handed out by its pieces to the hosts of a transfer, which lend one another what they have.

Each host asks for a share of the pieces, as it would at any source, over HTTP: at a port of its own loopback, which
leads here through its connection, and to who shows the transfer's secret alone. Few pieces are sent at once, so that
each is there soon and goes on to the others; who waits for its turn is kept from giving up by a few bytes now and then.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from provision.agent.writing import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import paramiko

    from provision.hosts import HostConnection

_AT_ONCE = 4  # pieces on their way, to all hosts together
_SLOW = 1_000_000  # bytes a second: who takes less keeps no other waiting
_BLOCK = 64 << 10
_SIGN = 1 << 10  # bytes, for who waits
_WAIT = 5.0  # seconds between two of them
_PATIENCE = 60.0  # seconds for who takes nothing, or says nothing
_MOST = 16  # connections of one host: it has four
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")


class Handout:
    """One file, on its way to several hosts."""

    def __init__(self, file: Path, size: int, secret: str, limit: int) -> None:
        self._file, self._size = file, size
        self._pace = Pace(limit)
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self.authorization = f"Bearer {secret}"

    @contextlib.contextmanager
    def reached(self, connection: HostConnection) -> Iterator[str]:
        """Where a host finds it for now; raises as `HostConnection.answering` does."""
        free = threading.BoundedSemaphore(_MOST)

        def answer(channel: paramiko.Channel) -> None:
            with contextlib.closing(channel), contextlib.suppress(OSError, EOFError):
                channel.settimeout(_PATIENCE)
                if free.acquire(blocking=False):
                    try:
                        _Answer(channel, ("", 0), self)  # type: ignore[arg-type]  # as much of a socket as is needed
                    finally:
                        free.release()

        with connection.answering(answer) as port:
            yield f"http://127.0.0.1:{port}/"

    def part(self, asked: str) -> tuple[int, int] | None:
        """Where a part begins, and its bytes; None where there is none such."""
        found = _RANGE.fullmatch(asked)
        begin, last = (int(found[1]), int(found[2])) if found else (0, -1)
        return (begin, last - begin + 1) if begin <= last < self._size else None

    def size(self) -> int:
        return self._size

    def send(self, channel: Any, begin: int, length: int) -> None:
        """Send a part when it is its turn."""
        has_turn, until, done = False, 0.0, 0
        try:
            with self._file.open("rb", buffering=0) as file:
                while done < length:
                    if not until and self._turns.acquire(timeout=_WAIT):
                        has_turn, until = True, time.monotonic() + length / _SLOW
                    if has_turn and time.monotonic() > until:
                        has_turn = False
                        self._turns.release()
                    block = os.pread(file.fileno(), min(_BLOCK if until else _SIGN, length - done), begin + done)
                    if not block:
                        return  # it has become shorter
                    channel.sendall(block)
                    done += len(block)
                    self._pace.took(len(block))
        finally:
            if has_turn:
                self._turns.release()


class _Answer(BaseHTTPRequestHandler):
    """What one connection asks for."""

    def do_GET(self) -> None:
        handout: Handout = self.server  # type: ignore[assignment]
        shown = self.headers.get("Authorization", "")
        if not hmac.compare_digest(shown.encode(), handout.authorization.encode()):
            return self._say(403)
        part = handout.part(self.headers.get("Range", ""))
        if part is None:
            return self._say(416)
        begin, length = part
        self._say(206, {"Content-Range": f"bytes {begin}-{begin + length - 1}/{handout.size()}"}, length)
        return handout.send(self.connection, begin, length)

    def _say(self, status: int, headers: dict[str, str] | None = None, length: int = 0) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
