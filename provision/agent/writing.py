"""One piece of a file as it comes from somewhere: written where it belongs, digested, within its time and pace."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from typing import Callable

SILENCE = 20.0  # seconds without a byte
BLOCK = 256 << 10
SECONDS = 60.0  # for a piece, and what it takes at a slow pace


class Again(Exception):
    """This try came to nothing, and another may not."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class Pace:
    """How fast all that ask may read, together; or all that are sent to."""

    def __init__(self, limit: int) -> None:
        self._limit = limit  # bytes a second; 0 for none
        self._one = threading.Lock()
        self._next = 0.0

    def took(self, size: int) -> None:
        """Wait for as long as these bytes have to take."""
        if not self._limit:
            return
        with self._one:
            begin = max(self._next, time.monotonic())
            self._next = begin + size / self._limit
        time.sleep(max(0.0, begin - time.monotonic()))


class Writing:
    """Where pieces are written, and what counts for all of them.

    Attributes:
        arrived: bytes that are there, of pieces that are not whole too.
        moved: when the last of them came, by `time.monotonic`.
        over: set when nobody wants any more.
    """

    def __init__(self, descriptor: int, limit: int, slowest: float, arrived: int) -> None:
        self._descriptor = descriptor
        self._pace = Pace(limit)
        self._slowest = slowest  # bytes a second
        self._one = threading.Lock()
        self.arrived = arrived
        self.moved = time.monotonic()
        self.over = threading.Event()

    def piece(self, begin: int, length: int, read: Callable[[int], bytes]) -> str:
        """Write a piece, of which `read` gives so many bytes at most; its sha256.

        Raises:
            Again: it stopped, or is too slow; or what `read` raises.
            OSError: the disk is full; or what `read` raises.
        """
        until, done = time.monotonic() + SECONDS + length / self._slowest, 0
        digest = hashlib.sha256()
        try:
            while done < length:
                block = read(min(BLOCK, length - done))
                if not block:
                    raise Again("it stopped in the middle of a piece")
                if self.over.is_set() or time.monotonic() > until:
                    raise Again(f"less than {self._slowest / 1000:.0f} kB came in a second")
                if os.pwrite(self._descriptor, block, begin + done) < len(block):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                digest.update(block)
                done += len(block)
                self._moved(len(block))
                self._pace.took(len(block))
            os.fdatasync(self._descriptor)
            return digest.hexdigest()
        except BaseException:
            self._moved(-done)
            raise

    def forget(self, length: int) -> None:
        """A piece that came whole is not what it should be."""
        self._moved(-length)

    def _moved(self, size: int) -> None:
        with self._one:
            self.arrived += size
            self.moved = time.monotonic()
