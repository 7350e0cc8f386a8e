"""What each lane of each service was asked, minute by minute, for a day: a file an hour, of bounded size.

A line is what was counted since the last one, so that what is killed loses seconds, and a minute is the sum of its
lines. Whoever reads goes by the lines that are whole.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Dict, Iterator, List, Tuple

from .. import files
from ..analysis.seen import Lane, LaneDocument
from ..analysis.sketch import MOST, edge_below
from ..front.listening import Minutes
from ..front.log import Served

HOURS = 25  # a day, and the hour that is under way
LARGEST = 2 << 20  # bytes of an hour; what is more is not kept
_MINUTE = 60.0
_MOST = 1 << 53  # what JSON's readers take for a whole number
_BUCKETS = edge_below(MOST)
_DIGITS = 9  # of an hour, or of a bucket
_SUFFIX = ".jsonl"

Key = Tuple[str, str]  # service and lane


class CountsDocument(LaneDocument):
    """A lane in a line."""

    service: str
    lane: str
    bytes: int
    tokens: List[float]  # made, and seconds that took, of engines


class Counts(Lane):
    """A lane, how much it was answered, and what engines made for that."""

    __slots__ = ("bytes", "made", "seconds")

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.made = self.seconds = 0.0

    def count(self, served: Served) -> None:
        """One request that has ended."""
        self.add(served.failed, served.first_byte)
        self.bytes += served.bytes


class Rings:
    """Those in `folder`, for who fills them."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._new: Minutes[Counts] = Minutes(Counts, minutes=5)
        files.make_folder(folder, 0o700)

    def count(self, served: Served) -> None:
        """One request that has ended."""
        self._new.add(served)

    def add_tokens(self, now: float, service: str, lane: str, made: float, seconds: float) -> None:
        """What the programs of a lane made of late, and how long they took for it."""
        counts = self._new.lane(now, service, lane)
        if counts is not None and made > 0 and seconds > 0:
            counts.made += made
            counts.seconds += seconds

    def flush(self, now: float) -> None:
        """Write down what is new, and let go of what is too old. On a full disk that is lost, and nothing else."""
        with contextlib.suppress(OSError):
            lines: Dict[int, List[CountsDocument]] = {}
            for minute, service, lane, counted in self._new.taken():
                lines.setdefault(minute, []).append(
                    {
                        **counted.as_dict(),
                        "service": service,
                        "lane": lane,
                        "bytes": counted.bytes,
                        "tokens": [counted.made, counted.seconds],
                    }
                )
            for minute, counts in lines.items():
                self._append(minute, counts)
            oldest = int(now // _MINUTE) // 60 - HOURS
            for hour in _hours(self._folder):
                if hour <= oldest:
                    os.unlink(_path(self._folder, hour))

    def _append(self, minute: int, counts: List[CountsDocument]) -> None:
        text = json.dumps({"minute": minute, "counts": counts}, separators=(",", ":")) + "\n"
        fd = os.open(_path(self._folder, minute // 60), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(fd).st_size + len(text) <= LARGEST:
                os.write(fd, text.encode())
        finally:
            os.close(fd)


def read(folder: str, since: float) -> Dict[Key, Counts]:
    """Service and lane -> what was counted in each minute that began at `since` or later."""
    found: Dict[Key, Counts] = {}
    for _, each in _lines(folder, int(-(-since // _MINUTE))):
        _include(found.setdefault((each["service"], each["lane"]), Counts()), each)
    return found


def series(folder: str, since: float, minutes: int) -> Dict[Key, Dict[int, Counts]]:
    """Service and lane -> the minute that so many begin with, counted since 1970 -> what was counted in them."""
    found: Dict[Key, Dict[int, Counts]] = {}
    for minute, each in _lines(folder, int(-(-since // _MINUTE))):
        of = found.setdefault((each["service"], each["lane"]), {})
        _include(of.setdefault(minute - minute % minutes, Counts()), each)
    return found


def _include(counts: Counts, each: CountsDocument) -> None:
    counts.include(Lane.from_dict(each))
    counts.bytes += each["bytes"]
    counts.made += each["tokens"][0]
    counts.seconds += each["tokens"][1]


def oldest(folder: str) -> float:
    """When the first minute began that there is something of, in seconds since 1970; 0 where there is nothing."""
    return next((minute * _MINUTE for hour in _hours(folder) for minute, _ in _whole(folder, hour)), 0.0)


def _lines(folder: str, minute: int) -> Iterator[Tuple[int, CountsDocument]]:
    for hour in _hours(folder):
        if hour < minute // 60:
            continue
        for at, counts in _whole(folder, hour):
            if at >= minute:
                yield from ((at, each) for each in counts)


def _whole(folder: str, hour: int) -> Iterator[Tuple[int, List[CountsDocument]]]:
    """The minutes of an hour, as far as they are some: in a container others than us may write there."""
    try:
        with files.open_plain(_path(folder, hour)) as file:
            lines = file.read(LARGEST).split(b"\n")
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):  # torn: its writer was killed
            value = json.loads(line)
            if isinstance(value, dict) and _is_number(value.get("minute")) and value["minute"] // 60 == hour:
                counts = value.get("counts")
                yield value["minute"], [each for each in counts if _can_be(each)] if isinstance(counts, list) else []


def _can_be(said: object) -> bool:
    """Whether it is what `Rings` writes of a lane."""
    if not isinstance(said, dict) or not all(isinstance(said.get(each), str) for each in ("service", "lane")):
        return False
    first, tokens = said.get("first_byte"), said.get("tokens")
    return (
        all(_is_number(said.get(each)) for each in ("requests", "errors", "bytes"))
        and isinstance(first, dict)
        and all(
            each.isdecimal() and len(each) <= _DIGITS and int(each) <= _BUCKETS and _is_number(first[each])
            for each in first
        )
        and isinstance(tokens, list)
        and len(tokens) == len(("made", "seconds"))
        and all(isinstance(each, (int, float)) and 0 <= each <= _MOST for each in tokens)
    )


def _is_number(said: object) -> bool:
    return isinstance(said, int) and 0 <= said <= _MOST


def _hours(folder: str) -> List[int]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    found = (name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX))
    return sorted(int(each) for each in found if each.isdecimal() and len(each) <= _DIGITS)[-HOURS - 1 :]


def _path(folder: str, hour: int) -> str:
    return os.path.join(folder, f"{hour}{_SUFFIX}")
