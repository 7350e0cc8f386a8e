"""A model that lies here, handed out by its pieces to the hosts of a transfer, which lend one another what they have.

Each host asks for a share of the pieces, as it would at any source, over HTTP: at a port of its own loopback, which
leads here through its connection, with a secret made for it. Few pieces are sent at once, so that each is there soon
and goes on to the others; who waits for its turn is kept from giving up by a few bytes now and then. What another host
was sent is sent to a second one only where it asks again.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple

from provision.agent.writing import Pace
from provision.models.access import Access

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

    def __init__(self, file: Path, size: int, limit: int) -> None:
        self._file, self._size = file, size
        self._pace = Pace(limit)
        self._turns = _Turns()
        self._asked: dict[int, set[str]] = {}  # by where a part begins: who did

    @contextlib.contextmanager
    def reached(self, connection: HostConnection) -> Iterator[Access]:
        """How a host asks for it, for now; raises as `HostConnection.answering` does."""
        authorization = f"Bearer {secrets.token_urlsafe(32)}"
        free, of = threading.BoundedSemaphore(_MOST), _Asker(self, connection.name, authorization)

        def answer(channel: paramiko.Channel) -> None:
            with contextlib.closing(channel), contextlib.suppress(OSError, EOFError):
                channel.settimeout(_PATIENCE)
                if free.acquire(blocking=False):
                    try:
                        _Answer(channel, ("", 0), of)  # type: ignore[arg-type]  # as much of a socket as is needed
                    finally:
                        free.release()

        try:
            with connection.answering(answer) as port:
                yield Access(f"http://127.0.0.1:{port}/", authorization)
        except BaseException:  # it lends nothing any more of what it was sent
            for asked in [*self._asked.values()]:
                asked.discard(connection.name)
            raise

    def part(self, asked: str) -> tuple[int, int] | None:
        """Where a part begins, and its bytes; None where there is none such."""
        found = _RANGE.fullmatch(asked)
        begin, last = (int(found[1]), int(found[2])) if found else (0, -1)
        return (begin, last - begin + 1) if begin <= last < self._size else None

    @property
    def size(self) -> int:
        return self._size

    def is_elsewhere(self, host: str, begin: int) -> bool:
        """Whether another host was sent this part; who asks for it once more needs it from here nevertheless."""
        asked = self._asked.setdefault(begin, set())
        found = bool(asked) and host not in asked
        asked.add(host)
        return found

    def send(self, channel: Any, host: str, begin: int, length: int) -> None:
        """Send a part when it is its turn; of what did not go, nothing is said to be elsewhere."""
        done, has_turn = 0, False
        try:
            with self._file.open("rb", buffering=0) as file, contextlib.ExitStack() as turn:
                while done < length:
                    if not has_turn and self._turns.take(turn, host, length / _SLOW):
                        has_turn = True
                    block = os.pread(file.fileno(), min(_BLOCK if has_turn else _SIGN, length - done), begin + done)
                    if not block:
                        return  # it has become shorter
                    channel.sendall(block)
                    done += len(block)
                    self._pace.took(len(block))
        finally:
            if done < length:
                self._asked[begin].discard(host)


class _Turns:
    """Few at a time, each another host's; one that has had its time may go on, and counts no more."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._ends: dict[object, tuple[float, str]] = {}

    def take(self, held: contextlib.ExitStack, host: str, seconds: float) -> bool:
        """Have one, until `held` is left; false where there was none for a while."""
        until, mark = time.monotonic() + _WAIT, object()
        with self._free:
            while (now := time.monotonic()) < until:
                taken = sorted((end, who) for end, who in self._ends.values() if end > now)
                if len(taken) < _AT_ONCE and host not in {who for _, who in taken}:
                    self._ends[mark] = now + seconds, host
                    held.callback(self._leave, mark)
                    return True
                self._free.wait(min(until, taken[0][0]) - now)
        return False

    def _leave(self, mark: object) -> None:
        with self._free:
            del self._ends[mark]
            self._free.notify_all()


class _Asker(NamedTuple):
    """Who asks, and of what."""

    handout: Handout
    host: str
    authorization: str


class _Answer(BaseHTTPRequestHandler):
    """What one connection asks for."""

    def do_GET(self) -> None:
        asker: _Asker = self.server  # type: ignore[assignment]
        handout = asker.handout
        shown = self.headers.get("Authorization", "")
        if not hmac.compare_digest(shown.encode(), asker.authorization.encode()):
            return self._say(403)
        part = handout.part(self.headers.get("Range", ""))
        if part is None:
            return self._say(416)
        begin, length = part
        if handout.is_elsewhere(asker.host, begin):
            return self._say(409)
        self._say(206, {"Content-Range": f"bytes {begin}-{begin + length - 1}/{handout.size}"}, length)
        return handout.send(self.connection, asker.host, begin, length)

    def _say(self, status: int, headers: dict[str, str] | None = None, length: int = 0) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
