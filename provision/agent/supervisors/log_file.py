"""A program's log that is a file."""

from __future__ import annotations

import calendar
import os
import re
import time
from typing import Optional, Sequence

from .. import files
from .base import LOG_BYTES

_WITHIN = 200  # characters of a line, in which a time of its own stands
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,]\d+)? ?(Z|[+-]\d\d:?\d\d)?")  # ISO 8601
_OF_SERVERS = re.compile(r"(\d\d/[A-Z][a-z]{2}/\d{4}):(\d\d:\d\d:\d\d) ([+-]\d{4})")  # the common log format


def size(path: str) -> int:
    """Its bytes; 0 where there is none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def tail(path: str, since: int = 0) -> bytes:
    """The end of a file, at most `LOG_BYTES` of it; nothing from before the byte `since`."""
    try:
        with files.open_plain(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            # A file that is shorter than it was has been rotated.
            begin = since if since <= size else 0
            cut = size - LOG_BYTES > begin
            stream.seek(size - LOG_BYTES if cut else begin)
            if cut:
                stream.readline(LOG_BYTES)  # torn: who takes secrets out of lines would not know the end of one
            return stream.read(LOG_BYTES)
    except OSError:
        return b""


def changed(path: str) -> float:
    """When it was last written to; 0 where there is none."""
    try:
        return os.path.getmtime(path)
    except OSError:
        return 0.0


def first_since(lines: Sequence[str], since: float) -> Optional[int]:
    """The first of `lines` that was written at `since` or later, by the times that they tell; None: none tells one."""
    begin, told = len(lines), False
    for number in range(len(lines) - 1, -1, -1):
        when = _time_of(lines[number])
        if when is not None:
            told = True
            if when < since:
                return begin
            begin = number
    return (0 if begin < len(lines) else begin) if told else None


def _time_of(line: str) -> Optional[float]:
    """Seconds since 1970; without a zone, as this host's clock has it."""
    for pattern, form in ((_TIME, "%Y-%m-%d %H:%M:%S"), (_OF_SERVERS, "%d/%b/%Y %H:%M:%S")):
        found = pattern.search(line, 0, _WITHIN)
        if found:
            day, clock, zone = found.groups()
            try:
                read = time.strptime(f"{day} {clock}", form)
            except ValueError:
                continue
            if not zone:
                return time.mktime(read)
            digits = zone.replace(":", "")[1:]
            ahead = 0 if zone == "Z" else (int(digits[:2]) * 60 + int(digits[2:])) * 60
            return calendar.timegm(read) - (-ahead if zone[0] == "-" else ahead)
    return None
