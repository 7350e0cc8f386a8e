"""Output of a program, kept within bounds.

A program that floods its output must not exhaust the memory of the one who watches: of each stream the first and
the last half of the limit are kept, and what lay between is counted.
"""

from __future__ import annotations

import codecs

CAPTURE_BYTES = 1 << 20
"""How much of each stream is kept unless told: enough for any log that a person reads."""

LINE_CHARACTERS = 1 << 16
"""A longer line is handed on in pieces, so that output without line ends stays bounded too."""


class BoundedCapture:
    """The beginning and the end of one stream."""

    def __init__(self, limit: int = CAPTURE_BYTES) -> None:
        self._tail_limit = limit // 2
        self._head_limit = limit - self._tail_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._trimmed = 0

    def feed(self, data: bytes) -> None:
        """Keep `data` as far as there is room."""
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Trimmed only at twice the size: each byte is then moved once, not once a chunk.
        if len(self._tail) > 2 * self._tail_limit:
            self._trim()

    def _trim(self) -> None:
        beyond = max(len(self._tail) - self._tail_limit, 0)
        del self._tail[:beyond]
        self._trimmed += beyond

    @property
    def cut(self) -> int:
        """How many bytes were not kept."""
        return self._trimmed + max(len(self._tail) - self._tail_limit, 0)

    def text(self) -> str:
        """What was kept, with a mark in the place of what was not. Bytes that are no UTF-8 read as U+FFFD."""
        self._trim()
        if not self._trimmed:
            return (self._head + self._tail).decode(errors="replace")
        head, tail = self._head.decode(errors="replace"), self._tail.decode(errors="replace")
        return f"{head}\n[… {self._trimmed} bytes cut …]\n{tail}"


class Lines:
    """Bytes in, whole lines out, without their line ends."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        """The lines that `data` completes; with `final`, also the last one if it has no line end."""
        *lines, self._rest = (self._rest + self._decoder.decode(data, final)).split("\n")
        while len(self._rest) > LINE_CHARACTERS or (final and self._rest):
            lines.append(self._rest[:LINE_CHARACTERS])
            self._rest = self._rest[LINE_CHARACTERS:]
        return lines
