"""Logs that are followed: once a target and channel, for all who read along; what came last is kept for who comes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from provision import rollout
from provision.errors import DeployError
from provision.shown import shown
from provision.targets import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provision.cluster.project_there import ProjectThere

    Written = tuple[str, str, str]  # by which host or pod, by which service, what

_KEPT = 2000  # lines
_FIRST = 100  # of each service, of what was written before
_LINGER_SECONDS = 20.0
_LOOK_SECONDS = 0.15
_AT_ONCE = 500
_LONGEST = 4000  # characters of a line


class Line(NamedTuple):
    """One line; `text` is harmless to look at, and is no markup."""

    number: int
    host: str
    service: str
    text: str


class Tail:
    """The logs of a target, from when somebody first looked."""

    def __init__(self, there: Deployment | ProjectThere, channel: str) -> None:
        self._there = there
        self._channel = channel
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._count = 0
        self._lock = threading.Lock()
        self._viewers = 0
        self._left = time.monotonic()
        self.problem = ""
        self._is_ended = False
        threading.Thread(target=self._follow, daemon=True, name="page follows logs").start()

    @property
    def is_over(self) -> bool:
        return not self._viewers and time.monotonic() - self._left > _LINGER_SECONDS

    def end(self) -> None:
        """Nothing more is read: who follows is let go."""
        self._is_ended = True

    def _follow(self) -> None:
        lines = _written(self._there, self._channel)
        try:
            for each in lines:
                if each is not None:
                    self._take(*each)
                if self.is_over:
                    break
            self.problem = "nothing more comes"
        except DeployError as error:
            self.problem = str(error)
        except Exception as error:  # a fault of ours: told where it shows
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            with contextlib.suppress(Exception):
                lines.close()  # type: ignore[attr-defined]  # they are generators, and their connections end with them

    def _take(self, host: str, service: str, line: str) -> None:
        text = shown(line[:_LONGEST].encode("utf-8", "surrogateescape").decode("utf-8", "replace"))[:_LONGEST]
        with self._lock:
            self._count += 1
            self._lines.append(Line(self._count, shown(host), shown(service), text))

    async def lines(self) -> AsyncIterator[list[Line]]:
        """What was kept, then what comes; nothing now and then."""
        self._viewers += 1
        last, told, beat = 0, "", time.monotonic()
        try:
            while not self._is_ended:
                with self._lock:
                    new = [line for line in self._lines if line.number > last] if self._count > last else []
                if new:
                    last, beat = new[-1].number, time.monotonic()
                    yield new[-_AT_ONCE:]
                elif self.problem != told:
                    told = self.problem
                    yield [Line(0, "", "", shown(told))]
                elif time.monotonic() - beat > 15:
                    beat = time.monotonic()
                    yield []
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._viewers -= 1
            self._left = time.monotonic()


def _written(there: Deployment | ProjectThere, channel: str) -> Iterator[Written | None]:
    """What all services there write; None where a cluster was asked, and nothing came."""
    if isinstance(there, Deployment):
        for each in rollout.logs(there, lines=_FIRST, follow=True, channel=channel):
            yield each.host, each.service, each.line
        return
    from provision.cluster.following import followed

    for line in followed(there, channel, _FIRST):
        yield line and (line.pod, line.service, line.text)


class Tails:
    """Those that somebody reads."""

    def __init__(self, open_: Callable[[str], Deployment | ProjectThere]) -> None:
        self._open = open_
        self._tails: dict[tuple[str, str], Tail] = {}

    def end(self) -> None:
        for tail in self._tails.values():
            tail.end()

    def of(self, target: str, channel: str) -> Tail:
        """One that goes on, or a new one.

        Raises:
            DeployError: the target can't be opened.
        """
        self._tails = {key: tail for key, tail in self._tails.items() if not tail.problem}
        key = (target, channel)
        if key not in self._tails:
            self._tails[key] = Tail(self._open(target), channel)
        return self._tails[key]
