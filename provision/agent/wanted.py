"""The pieces that are still to come, for those who bring them side by side: no two are at one piece."""

from __future__ import annotations

import threading
from typing import Callable, Collection, List, Optional, Set


class Wanted:
    """Pieces by their numbers, each open, on its way, or here."""

    def __init__(self, pieces: Collection[int]) -> None:
        self._open: List[int] = list(pieces)
        self._fetched: Set[int] = set()  # on their way from the source
        self._lent: Set[int] = set()  # on their way from other hosts
        self._one = threading.Lock()

    @property
    def is_over(self) -> bool:
        return not (self._open or self._fetched or self._lent)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not (self._fetched or self._lent)

    @property
    def coming(self) -> List[int]:
        """Those that are on their way from the source."""
        return sorted(self._fetched)

    def fetch(self, may: Callable[[int], bool] = lambda _: True) -> Optional[int]:
        """Take an open one, to fetch it from the source: the first of those that may be."""
        with self._one:
            return self._take(self._fetched, next(filter(may, self._open), None))

    def fetch_last(self, may: Callable[[int], bool]) -> Optional[int]:
        """Take one from the other end: who was here first, and knew of nobody, began with the first."""
        with self._one:
            return self._take(self._fetched, max(filter(may, self._open), default=None))

    def borrow(self, there: Collection[int], choose: Callable[[List[int]], int]) -> Optional[int]:
        """Take an open one, to have it from another host, which has some."""
        with self._one:
            some = [piece for piece in self._open if piece in there]
            return self._take(self._lent, choose(some) if some else None)

    def put_back(self, piece: int) -> None:
        """It did not come."""
        with self._one:
            self._forget(piece)
            self._open.append(piece)

    def came(self, piece: int) -> None:
        with self._one:
            self._forget(piece)

    def _take(self, taken: Set[int], piece: Optional[int]) -> Optional[int]:
        if piece is not None:
            self._open.remove(piece)
            taken.add(piece)
        return piece

    def _forget(self, piece: int) -> None:
        self._fetched.discard(piece)
        self._lent.discard(piece)
