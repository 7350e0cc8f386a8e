"""What rsync says, as values: `--info=progress2,stats2 --no-human-readable` in the C locale."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

_PROGRESS = re.compile(rb"\s*(\d+)\s+(\d+)%\s+\S+\s+[\d:]+(?:\s+\(xfr#(\d+), (?:to|ir)-chk=(\d+)/(\d+)\))?")
_TAIL_LINES = 8
_LINE = 8192  # bytes; of a longer one the end counts, since it may be the host's own words


@dataclass(frozen=True)
class RsyncProgress:
    """How far a transfer is. `bytes_done` counts what needs no sending, too."""

    bytes_done: int
    percent: int
    files_sent: int
    files_checked: int
    files_total: int


@dataclass(frozen=True)
class RsyncStats:
    """What a transfer came to."""

    files: int = 0  # regular files looked at
    files_sent: int = 0  # of these, the ones that differed
    bytes_total: int = 0  # size of all of them
    bytes_literal: int = 0  # content that the host did not have
    bytes_on_wire: int = 0  # both ways, before encryption


class OutputReader:
    """Reads the two outputs of one rsync, each in a thread of its own."""

    def __init__(self, on_progress: Callable[[RsyncProgress], None] | None) -> None:
        self._on_progress = on_progress
        self._values: dict[bytes, int] = {}
        self._said: list[bytes] = []
        self._last = RsyncProgress(0, 0, 0, 0, 0)

    def read_output(self, stream: IO[bytes] | None) -> None:
        """Until the end; each step of progress is told as it comes."""
        rest = b""
        while stream is not None and (data := stream.read1(65536)):  # type: ignore[attr-defined]
            *lines, rest = re.split(rb"[\r\n]", rest[-_LINE:] + data)
            for line in lines:
                self._line(line)

    def read_errors(self, stream: IO[bytes] | None) -> None:
        """Until the end, keeping the last lines."""
        while stream is not None and (line := stream.readline(_LINE)):
            self._said = [*self._said, line.rstrip()][-_TAIL_LINES:]

    def errors(self) -> str:
        """The last lines of complaint, in one line."""
        return " ".join(line.decode(errors="replace") for line in self._said if line)

    @property
    def stats(self) -> RsyncStats:
        """The totals that rsync printed at its end."""
        value = self._values.get
        return RsyncStats(
            files=value(b"Number of files reg", 0),
            files_sent=value(b"Number of regular files transferred", 0),
            bytes_total=value(b"Total file size", 0),
            bytes_literal=value(b"Literal data", 0),
            bytes_on_wire=value(b"Total bytes sent", 0) + value(b"Total bytes received", 0),
        )

    def _line(self, line: bytes) -> None:
        if match := _PROGRESS.fullmatch(line.rstrip()):
            done, percent, sent, left, total = (int(group) if group else None for group in match.groups())
            last = self._last
            self._last = RsyncProgress(
                done or 0,
                percent or 0,
                last.files_sent if sent is None else sent,
                last.files_checked if left is None or total is None else total - left,
                last.files_total if total is None else total,
            )
            if self._on_progress is not None:
                self._on_progress(self._last)
        elif match := re.match(rb"Number of files: .*reg: (\d+)", line):
            self._values[b"Number of files reg"] = int(match[1])
        elif match := re.match(rb"([A-Z][a-z ]+): (\d+)", line):
            self._values[match[1]] = int(match[2])
