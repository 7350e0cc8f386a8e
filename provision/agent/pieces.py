"""A file that arrives in pieces, in no order: which are there, and what each was, is written down beside it."""

from __future__ import annotations

import errno
import os
import threading
from typing import Dict, List, Mapping, Optional

from .files import open_plain

PIECE = 16 << 20  # bytes, of a large file
_LARGE = 64  # pieces: a smaller file has smaller ones, so that several hosts have something to share
_LINE = 96  # bytes of the longest one
_MOST = 16 << 20  # bytes of all of them
RECORD = ".pieces"  # in the folder of the file; a line for each piece with its sha256, after one with the sizes


def piece_of(size: int) -> int:
    """Bytes of a piece of a file of that size."""
    return PIECE // 4 if PIECE < size <= _LARGE * PIECE else PIECE


class Pieces:
    """Which pieces of a file have arrived, written down as each is on the disk.

    Attributes:
        size: bytes of a piece; the last one may have fewer.
    """

    def __init__(self, folder: str, size: int, known: Optional[Mapping[int, str]] = None) -> None:
        path = os.path.join(folder, RECORD)
        self._size, self.size = size, piece_of(size)
        self._one = threading.Lock()
        self.done = recorded(folder, size)  # sha256 by number; empty of versions that did not note it
        self._stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        # A line that was cut off, by a full disk for one, would become another with the next.
        os.ftruncate(self._stream, len(_lines(path)) if self.done else 0)
        if not self.done:
            self._write(f"{size} {self.size}\n")
        for index, digest in (known or {}).items():
            self.add(index, digest)

    def length(self, index: int) -> int:
        """Bytes of a piece."""
        return min(self.size, self._size - index * self.size)

    def missing(self) -> List[int]:
        """Those that have not arrived, in order."""
        return [index for index in range(-(-self._size // self.size)) if index not in self.done]

    def add(self, index: int, digest: str) -> bool:
        """Note one that is on the disk; whether that is news."""
        with self._one:
            if self.done.get(index) == digest:
                return False
            self._write(f"{index} {digest}\n")
            os.fdatasync(self._stream)
            self.done[index] = digest
            return True

    def _write(self, line: str) -> None:
        if os.write(self._stream, line.encode("ascii")) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Write no more."""
        os.close(self._stream)


def arrived(folder: str) -> Optional[int]:
    """Bytes of a model that is being fetched into this folder; None where it comes otherwise."""
    try:
        with open_plain(os.path.join(folder, RECORD)) as stream:
            size = int(stream.readline(_LINE).split()[0])
    except OSError:
        return None
    except (ValueError, IndexError):
        return 0
    piece = piece_of(size)
    return sum(min(piece, size - index * piece) for index in recorded(folder, size))


def recorded(folder: str, size: int) -> Dict[int, str]:
    """What is written down there of a file of that size; a last line that was cut off is none."""
    try:
        head, *lines = _lines(os.path.join(folder, RECORD)).decode("ascii").split("\n")[:-1]
    except (OSError, ValueError):
        return {}
    piece = piece_of(size)
    if head != f"{size} {piece}":
        return {}
    found: Dict[int, str] = {}
    for index, _, digest in (line.partition(" ") for line in lines if len(line) < _LINE):
        if index.isdigit() and int(index) * piece < size:
            found[int(index)] = digest
    return found


def _lines(path: str) -> bytes:
    """Those that are whole."""
    with open_plain(path) as stream:
        said = stream.read(_MOST)
    return said[: said.rfind(b"\n") + 1]
