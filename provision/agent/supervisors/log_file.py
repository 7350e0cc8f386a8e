"""A program's log that is a file."""

from __future__ import annotations

import os
from typing import List

from .. import files
from .base import LOG_BYTES


def size(path: str) -> int:
    """Its bytes; 0 where there is none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def tail(path: str, lines: int, since: int = 0) -> List[str]:
    """The last lines of a file, at most `LOG_BYTES` of them; none from before the byte `since`."""
    try:
        with files.open_plain(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            # A file that is shorter than it was has been rotated.
            begin = since if since <= size else 0
            cut = size - LOG_BYTES > begin
            stream.seek(size - LOG_BYTES if cut else begin)
            if cut:
                stream.readline(LOG_BYTES)  # torn: who takes secrets out of lines would not know the end of one
            text = stream.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]
