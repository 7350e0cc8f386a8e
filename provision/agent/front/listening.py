"""Who listens to a front's log: lines as they come, in bounded room."""

from __future__ import annotations

import contextlib
import selectors
import socket
from typing import Callable, Dict, Generic, Iterator, List, Optional, Protocol, Tuple, TypeVar

from .. import nearby
from .account import account
from .log import LONGEST, SOCKET, Served, read

_AT_ONCE = 1 << 16  # bytes that are read of one worker at a time
_WORKERS = 64  # each reload leaves one, for as long as it has something to do
_MINUTE = 60.0


class Log:
    """The lines of the front in `folder`, while this is open. One at a time: who comes later takes the place."""

    def __init__(self, folder: str) -> None:
        """Listen, for whom HAProxy becomes."""
        whom = account()
        self._begun: Dict[socket.socket, bytes] = {}  # a line whose end has not come
        self._listener = nearby.listen(folder, SOCKET, _WORKERS, whom.uid if whom else -1)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        for each in [*self._begun, self._listener]:
            each.close()
        self._selector.close()

    def fileno(self) -> int:
        """For who waits for more than this: it can be read from when something has come."""
        return self._selector.fileno()

    def served(self, seconds: float) -> List[Served]:
        """What has come, after a wait of at most so long for the first of it."""
        found: List[Served] = []
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._listener:
                self._welcome()
            else:
                found += self._heard(key.fileobj)  # type: ignore[arg-type]
        return found

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            worker, _ = self._listener.accept()
            if len(self._begun) >= _WORKERS:
                worker.close()
                return
            worker.setblocking(False)
            self._begun[worker] = b""
            self._selector.register(worker, selectors.EVENT_READ)

    def _heard(self, worker: socket.socket) -> Iterator[Served]:
        try:
            came = worker.recv(_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        *lines, rest = (self._begun[worker] + came).split(b"\n")
        if not came or len(rest) > LONGEST:
            self._selector.unregister(worker)
            del self._begun[worker]
            worker.close()
        else:
            self._begun[worker] = rest
        for line in lines:
            found = read(line)
            if found:
                yield found


class Counting(Protocol):
    """What counts the requests of one lane."""

    def count(self, served: Served) -> None: ...


_Lane = TypeVar("_Lane", bound=Counting)


class Minutes(Generic[_Lane]):
    """What each lane of each service was asked, minute by minute; the oldest go first.

    Args:
        new: counts one lane in one minute.
        minutes: how many are kept.
        lanes: how many of services and lanes there may be at all; others are not counted.
    """

    def __init__(self, new: Callable[[], _Lane], minutes: int = 120, lanes: int = 256) -> None:
        self._new = new
        self._minutes = minutes
        self._lanes = lanes
        self._kept: Dict[int, Dict[Tuple[str, str], _Lane]] = {}

    def add(self, served: Served) -> None:
        """Count it in the minute in which it ended."""
        lane = self.lane(served.at + served.seconds, served.service, served.lane)
        if lane is not None:
            lane.count(served)

    def lane(self, at: float, service: str, lane: str) -> Optional[_Lane]:
        """What counts that lane in that minute; None where it is too old, or there are too many."""
        minute = int(at // _MINUTE)
        if minute not in self._kept:
            self._kept[minute] = {}
            for old in sorted(self._kept)[: -self._minutes]:
                del self._kept[old]
        lanes, key = self._kept.get(minute), (service, lane)
        if lanes is not None and key not in lanes and len(lanes) < self._lanes:
            lanes[key] = self._new()
        return lanes.get(key) if lanes is not None else None

    def taken(self) -> Iterator[Tuple[int, str, str, _Lane]]:
        """Minute, service, lane and what was counted; from now on it is counted from nothing."""
        kept, self._kept = self._kept, {}
        for minute in sorted(kept):
            for (service, lane), counted in kept[minute].items():
                yield minute, service, lane, counted
