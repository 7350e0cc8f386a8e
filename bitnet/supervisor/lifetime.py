"""From the first job to an orderly end: drain, then end what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from bitnet.child import Child
from bitnet.errors import SupervisorClosed

_T = TypeVar("_T")


class Lifetime:
    """Counts who is inside, and knows when nobody may go on."""

    def __init__(self) -> None:
        self._inside = 0
        self._closing = False
        self._ended = asyncio.Event()  # nobody may go on
        self._empty = asyncio.Event()  # nobody is inside
        self._empty.set()
        self._children: set[Child] = set()

    def __enter__(self) -> None:
        """Around everything that a caller asks for; many may be inside at a time.

        Raises:
            SupervisorClosed: the supervisor takes no more jobs.
        """
        if self._closing:
            raise closed("takes no more jobs")
        self._inside += 1
        self._empty.clear()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    @contextmanager
    def children(self) -> Iterator[Callable[[Child], None]]:
        """Give what is called with a new child, which is then ended when the supervisor is."""
        mine: list[Child] = []

        def born(child: Child) -> None:
            mine.append(child)
            self._children.add(child)
            if self._ended.is_set():
                child.end()

        try:
            yield born
        finally:
            self._children.difference_update(mine)

    async def unless_ended(self, work: Awaitable[_T]) -> _T:
        """Wait for `work`, but no longer than the supervisor lives.

        Raises:
            SupervisorClosed: it ended first; `work` is cancelled.
        """
        task = asyncio.ensure_future(work)
        end = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise closed("ended while the job was not finished")
            return task.result()
        finally:
            task.cancel()
            end.cancel()
            await asyncio.wait({task, end})

    async def close(self, drain: float, refuse_waiting: Callable[[SupervisorClosed], None]) -> None:
        """Take no more jobs, let those inside finish for `drain` seconds, then end them; return when all are out."""
        self._closing = True
        try:
            async with asyncio.timeout(drain):
                await self._empty.wait()
        except TimeoutError:
            pass
        finally:
            # Also when the one who closes is cancelled: then at once.
            self._ended.set()
            refuse_waiting(closed("ended while the job waited"))
            for child in list(self._children):
                child.end()
        await self._empty.wait()


def closed(what: str) -> SupervisorClosed:
    """The error of a supervisor that shuts down."""
    return SupervisorClosed(
        f"the supervisor {what}", why="it shuts down", next_step="submit to a supervisor that is still open"
    )
