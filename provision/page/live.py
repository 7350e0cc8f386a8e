"""A page as all who look at it see it: parts of HTML, made once for everybody, and sent to each where they differ.

A view says cheaply whether anything may have changed (`mark`), and makes its parts where it has. Each part has the
version at which it last changed, so a browser that has version N is sent what came after, and nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Any, NamedTuple, Protocol

_LINGER_SECONDS = 30.0  # that a page is kept which nobody looks at
_BEAT_SECONDS = 15.0  # so often at least something is sent: who is gone is noticed


class Part(NamedTuple):
    """A piece of a page, in its place."""

    region: str
    id: str
    html: str


class View(Protocol):
    """What a page shows."""

    every: float  # seconds between two looks at `mark`

    def mark(self) -> Hashable:
        """Something that differs where the parts may."""

    def parts(self) -> list[Part]:
        """In their order."""


class Live:
    """One page."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.boot = secrets.token_hex(4)  # versions are this one's alone
        self.version = 0
        self.seen = time.monotonic()
        self._viewers = 0
        self._mark: Hashable = None
        self._parts: dict[str, tuple[int, Part]] = {}
        self._order: list[tuple[str, str]] = []
        self._order_version = 0
        self._changed = asyncio.Event()
        self._making = asyncio.Lock()
        self._is_over = False
        self._took = 0.0  # seconds of a processor that the parts took

    @property
    def parts(self) -> list[Part]:
        return [part for _, part in self._parts.values()]

    async def refresh(self) -> None:
        """Make the parts anew, where they may differ."""
        async with self._making:
            self.seen = time.monotonic()
            mark = self.view.mark()
            if mark == self._mark and self.version:
                return
            made, self._took = await asyncio.to_thread(_timed, self.view.parts)
            self._mark = mark
            self._take(made)

    def _take(self, made: list[Part]) -> None:
        version = self.version + 1
        before, changed = self._parts, False
        self._parts = {}
        for part in made:
            old = before.get(part.id)
            same = old is not None and old[1] == part
            self._parts[part.id] = old if same and old else (version, part)
            changed |= not same
        order = [(part.region, part.id) for part in made]
        if order != self._order:
            self._order, self._order_version, changed = order, version, True
        if changed or not self.version:
            self.version = version
            self._changed.set()
            self._changed = asyncio.Event()

    def end(self) -> None:
        """Nothing more comes: who follows is let go."""
        self._is_over = True
        self._changed.set()

    async def keep(self) -> None:
        """Look again and again, until nobody has looked for a while."""
        while self._viewers or time.monotonic() - self.seen < _LINGER_SECONDS:
            seen, self._took = self.seen, 0.0
            await self.refresh()
            if not self._viewers:
                self.seen = seen
            # A page of a thousand hosts takes a quarter of a core at most; who waited for one has taken none of it.
            await asyncio.sleep(max(self.view.every, 3 * self._took))

    async def messages(self, since: str) -> AsyncIterator[dict[str, Any]]:
        """What came after `since`, as the page that has it names it; an empty one now and then."""
        boot, _, number = since.partition("-")
        version = int(number) if boot == self.boot and number.isdigit() else -1
        self._viewers += 1
        try:
            while not self._is_over:
                if self.version > version:
                    yield self._after(version)
                    version = self.version
                changed = self._changed
                if self.version == version:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), _BEAT_SECONDS)
                    if self.version == version:
                        yield {}
        finally:
            self._viewers -= 1
            self.seen = time.monotonic()

    def _after(self, version: int) -> dict[str, Any]:
        message: dict[str, Any] = {
            "version": f"{self.boot}-{self.version}",
            "html": {id_: part.html for id_, (since, part) in self._parts.items() if since > version},
        }
        if self._order_version > version:
            order: dict[str, list[str]] = {}
            for region, id_ in self._order:
                order.setdefault(region, []).append(id_)
            message["order"] = order
        return message


def _timed(make: Callable[[], list[Part]]) -> tuple[list[Part], float]:
    """What it makes, and the seconds of a processor that it took."""
    began = time.thread_time()
    made = make()
    return made, time.thread_time() - began
