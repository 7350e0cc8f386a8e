"""How often a deploy waits for the network: what decides the speed of a small one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class RoundTrips:
    """Counts what is sent and answered on one connection, by phase. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._phase = "connect"

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count under `name` meanwhile."""
        before, self._phase = self._phase, name
        try:
            yield
        finally:
            self._phase = before

    def add(self, what: str, times: int = 1) -> None:
        """`what` (tcp, version, key exchange, authentication, open, exec, request, ...) went there and back."""
        with self._lock:
            self._counts[self._phase, what] += times

    @property
    def total(self) -> int:
        """All round trips so far."""
        with self._lock:
            return self._counts.total()

    def by_phase(self) -> dict[str, dict[str, int]]:
        """Phase to what to how often, in the order first seen."""
        with self._lock:
            counts = dict(self._counts)
        table: dict[str, dict[str, int]] = {}
        for (phase, what), times in counts.items():
            table.setdefault(phase, {})[what] = times
        return table
