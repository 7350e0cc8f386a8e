"""Lines of a raw stream, as a conversation reads them."""

from __future__ import annotations

import json
import os
import select
from typing import BinaryIO, Iterator, Optional


class Lines:
    """Lines of a raw stream; keeps what came too early, and can be waited for with select."""

    def __init__(self, stream: BinaryIO) -> None:
        self._fd = stream.fileno()
        self._buffer = b""

    def fileno(self) -> int:
        return self._fd

    def pending(self) -> bool:
        return b"\n" in self._buffer

    def over(self) -> bool:
        """Whether the other side has gone; reads what has come, and does not wait."""
        while select.select([self._fd], [], [], 0)[0]:
            if not self.fill():
                return True
        return False

    def holds(self, op: str) -> bool:
        """Whether this is among the requests that have come and were not taken yet."""
        return any(json.loads(line).get("op") == op for line in self._buffer.split(b"\n")[:-1] if line.strip())

    def fill(self) -> bool:
        """Read once; False at the end."""
        block = os.read(self._fd, 1 << 16)
        self._buffer += block
        return bool(block)

    def take(self) -> Optional[bytes]:
        if not self.pending():
            return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def __iter__(self) -> Iterator[bytes]:
        while True:
            line = self.take()
            if line is not None:
                if line.strip():
                    yield line
            elif not self.fill():
                return
