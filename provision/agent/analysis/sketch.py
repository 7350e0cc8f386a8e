"""Where times and rates lay, in bounded room.

A histogram whose edges are powers of one number, as in Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable
quantile sketch with relative-error guarantees" (VLDB 2019): whatever lies between two edges is known to one part in a
hundred, and two sketches are added by adding their counts. What lies below `LEAST` or above `MOST` counts as that, so
there are at most `edge_below(MOST)` buckets, however long it is counted.
"""

from __future__ import annotations

import math
from typing import Dict, Iterable, Mapping, Optional

GROWTH = 1.02  # from one edge to the next
LEAST = 1e-4  # of a second, or of a ratio
MOST = 1e4

_LOG = math.log(GROWTH)


def edge(number: int) -> float:
    """The edge above bucket `number`; a bucket holds what is above the edge below it, and at most its own."""
    return LEAST * math.exp(number * _LOG)


def edge_above(value: float) -> int:
    """The number of the first edge that is at least `value`: of the bucket that holds it."""
    number = math.ceil(math.log(min(max(value, LEAST), MOST) / LEAST) / _LOG)
    return number - 1 if number > 0 and edge(number - 1) >= value else number


def edge_below(value: float) -> int:
    """The number of the last edge that is at most `value`."""
    number = edge_above(value)
    return number if number == 0 or edge(number) <= value else number - 1


class Sketch:
    """How many values lay in which bucket."""

    __slots__ = ("counts", "total")

    def __init__(self, counts: Optional[Mapping[int, int]] = None) -> None:
        self.counts: Dict[int, int] = dict(counts or {})
        self.total = sum(self.counts.values())

    def add(self, value: float) -> None:
        """Count one value that is no NaN."""
        number = edge_above(value)
        self.counts[number] = self.counts.get(number, 0) + 1
        self.total += 1

    def extend(self, others: Iterable[Sketch]) -> None:
        """Count what others counted."""
        for other in others:
            for number, count in other.counts.items():
                self.counts[number] = self.counts.get(number, 0) + count
            self.total += other.total

    def times(self, times: int) -> Sketch:
        """As if each value had been counted so many times."""
        return Sketch({number: count * times for number, count in self.counts.items()})

    def quantile(self, share: float) -> Optional[float]:
        """A value that at least this share of all does not exceed, to a part in a hundred; None of nothing."""
        seen = 0
        for number in sorted(self.counts):
            seen += self.counts[number]
            if seen >= share * self.total:
                return edge(number) / math.sqrt(GROWTH)
        return None

    def as_dict(self) -> Dict[str, int]:
        """As JSON holds it."""
        return {str(number): count for number, count in sorted(self.counts.items())}

    @classmethod
    def from_dict(cls, document: Mapping[str, int]) -> Sketch:
        return cls({int(number): count for number, count in document.items()})
