"""A file that arrives in pieces, in no order: which are there is written down beside it."""

from __future__ import annotations

import os
import threading
from typing import List, Optional, Set

from .files import open_plain

PIECE = 16 << 20  # bytes
_LINE = 64  # bytes of the longest one
RECORD = ".pieces"  # in the folder of the file; a line for each piece, after one with the sizes


class Pieces:
    """Which pieces of a file have arrived, written down as each is on the disk."""

    def __init__(self, folder: str, size: int) -> None:
        path = os.path.join(folder, RECORD)
        self._size = size
        self._one = threading.Lock()
        self.done = _recorded(path, size)
        self._stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if not self.done:
            os.ftruncate(self._stream, 0)
            os.write(self._stream, f"{size} {PIECE}\n".encode("ascii"))

    def length(self, index: int) -> int:
        """Bytes of a piece."""
        return min(PIECE, self._size - index * PIECE)

    def missing(self) -> List[int]:
        """Those that have not arrived, in order."""
        return [index for index in range(-(-self._size // PIECE)) if index not in self.done]

    def add(self, index: int) -> None:
        """Note one that is on the disk."""
        with self._one:
            os.write(self._stream, b"%d\n" % index)
            os.fdatasync(self._stream)
            self.done.add(index)


def arrived(folder: str) -> Optional[int]:
    """Bytes of a model that is being fetched into this folder; None where it comes otherwise."""
    try:
        with open_plain(os.path.join(folder, RECORD)) as stream:
            size = int(stream.readline(_LINE).split()[0])
    except OSError:
        return None
    except (ValueError, IndexError):
        return 0
    return sum(min(PIECE, size - index * PIECE) for index in _recorded(os.path.join(folder, RECORD), size))


def _recorded(path: str, size: int) -> Set[int]:
    """What is written down of a file of that size; a last line that was cut off is none."""
    try:
        with open_plain(path) as stream:
            head, *lines = stream.read(1 << 20).decode("ascii").split("\n")[:-1]
    except (OSError, ValueError):
        return set()
    found = {int(line) for line in lines if line.isdigit() and len(line) < _LINE}
    return {index for index in found if index * PIECE < size} if head == f"{size} {PIECE}" else set()
