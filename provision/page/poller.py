"""Asks each host in its own time, once for all who look on, and keeps what it said last.

Only what somebody looks at is asked, `AT_ONCE` at a time. A host that is slow or gone holds up nobody: who has not
answered for a while makes room for another, and those that failed last time are asked less and less often.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from provision.errors import DeployError

AT_ONCE = 16
_ILL_AT_ONCE = 4
_SLOW_SECONDS = 3.0  # after which one who is asked does not count any more as one of those
_MOST = 128  # who are asked at a time, however slow
STALE_SECONDS = 15.0  # after which what a host said is shown as old
_LINGER_SECONDS = 20.0  # that one who looked is taken to look still
_TICK_SECONDS = 0.1
_LONGEST_SECONDS = 120.0  # between two questions to what is gone


class Key(NamedTuple):
    """What is asked: a kind, a target, and a host or nothing."""

    kind: str
    target: str
    host: str = ""


@dataclass(frozen=True)
class Heard:
    """What was said last, and when; and why nothing was said since, where that is so."""

    value: Any = None
    at: float = 0.0  # seconds since 1970; 0: nothing was said yet
    error: DeployError | None = None
    failed: int = 0  # times in a row
    every: float = 0.0  # seconds between two questions

    def is_stale(self, now: float) -> bool:
        """Whether it is too old to be told as what is."""
        return self.at == 0 or self.error is not None or now - self.at > max(STALE_SECONDS, 2 * self.every)


@dataclass
class _Source:
    ask: Callable[[], Any]
    every: float
    due: float = 0.0
    asked_at: float = 0.0  # since when it is being asked, by the monotonic clock; 0: it is not


class Poller:
    """What is known, by `Key`; safe from any thread."""

    def __init__(self) -> None:
        self.version = 0  # rises with whatever becomes known
        self._lock = threading.Lock()
        self._sources: dict[Key, _Source] = {}
        self._heard: dict[Key, Heard] = {}
        self._looked: dict[str, float] = {}
        self._stopped = threading.Event()
        self._awake = threading.Event()

    def add(self, key: Key, ask: Callable[[], Any], every: float) -> None:
        """From now on `key` is asked, at most each `every` seconds, while somebody looks at its kind."""
        with self._lock:
            self._sources.setdefault(key, _Source(ask, every))

    def look(self, kinds: Iterable[str]) -> None:
        """Somebody looks at these kinds."""
        now = time.monotonic()
        with self._lock:
            self._looked.update((kind, now) for kind in kinds)

    def heard(self, key: Key) -> Heard:
        with self._lock:
            return self._heard.get(key, Heard())

    def keys(self, kind: str, target: str) -> list[Key]:
        """In the order in which they were added."""
        with self._lock:
            return [key for key in self._sources if (key.kind, key.target) == (kind, target)]

    def start(self) -> None:
        threading.Thread(target=self._schedule, daemon=True, name="page").start()

    def stop(self) -> None:
        self._stopped.set()
        self._awake.set()

    def _schedule(self) -> None:
        while not self._stopped.is_set():
            for key in self._next():
                # Daemons: nobody waits for a host that hangs.
                threading.Thread(target=self._ask, args=(key,), daemon=True, name=f"page asks {key.host}").start()
            self._awake.wait(_TICK_SECONDS)
            self._awake.clear()

    def _next(self) -> list[Key]:
        """Those that are asked now."""
        now = time.monotonic()
        with self._lock:
            kinds = {kind for kind, at in self._looked.items() if now - at < _LINGER_SECONDS}
            asked = [(key, source) for key, source in self._sources.items() if source.asked_at]
            ill = sum(self._is_ill(key) for key, _ in asked)
            quick = sum(now - source.asked_at < _SLOW_SECONDS for _, source in asked)
            chosen: list[Key] = []
            waiting = [key for key, each in self._sources.items() if not each.asked_at and each.due <= now]
            for key in sorted((key for key in waiting if key.kind in kinds), key=lambda key: self._sources[key].due):
                if len(asked) + len(chosen) >= _MOST:
                    break
                if self._is_ill(key):
                    if ill >= _ILL_AT_ONCE:
                        continue
                    ill += 1
                elif quick >= AT_ONCE:
                    continue
                quick += 1
                chosen.append(key)
                self._sources[key].asked_at = now
            return chosen

    def _is_ill(self, key: Key) -> bool:
        return key in self._heard and self._heard[key].failed > 0

    def _ask(self, key: Key) -> None:
        source = self._sources[key]
        error: DeployError | None = None
        value = None
        try:
            value = source.ask()
        except DeployError as failure:
            error = failure
        except Exception as failure:  # a fault of ours: told where it shows, and nothing else ends by it
            error = DeployError(f"{type(failure).__name__}: {failure}", next_step="deploy status", host=key.host)
        with self._lock:
            before = self._heard.get(key, Heard())
            if error is None:
                value = before.value if before.value == value else value  # the same thing stays the same object
                heard = Heard(value, time.time(), every=source.every)
            else:
                heard = replace(before, error=error, failed=before.failed + 1)
            self._heard[key] = heard
            source.asked_at = 0.0
            source.due = time.monotonic() + min(_LONGEST_SECONDS, source.every * 2**heard.failed)
            self.version += 1
        self._awake.set()
