"""What a log is told of what happens: each sentence, and of progress a line each tenth, or each minute while it moves.

A log has no bar. It has to show that a compile lives, and to stay short when small files are shipped to many hosts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from provision.cli.sentences import in_bytes, sentence

_MINUTE = 60.0
# Bytes that pass faster than this are over before anybody has read how far they are.
_APART_SECONDS = 2.0


class Milestones:
    """Remembers what was told of each progress: a host's phase, and in it a file."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: dict[tuple[str, ...], tuple[int, float]] = {}  # tenths, and when

    def tell(self, event: Mapping[str, Any]) -> str | None:
        """The line for `event`; None where it is not worth one."""
        if event["event"] == "progress" and not self._is_due(event):
            return None
        return sentence(event)

    def _is_due(self, event: Mapping[str, Any]) -> bool:
        of = tuple(str(event.get(key) or "") for key in ("host", "phase", "file"))
        done, total, now = event["done"], event.get("total") or 0, self._now()
        tenths, when = self._told.setdefault(of, (0, now))
        if total and done == total:
            del self._told[of]
            # A model that is read before it is shipped is no news, unless it took its time.
            return event["phase"] != "hash" or tenths > 0
        reached = max(tenths, done * 10 // total) if total else tenths
        apart = _MINUTE if reached == tenths else _APART_SECONDS if in_bytes(event) else 0.0
        if now - when < apart:
            return False
        self._told[of] = (reached, now)
        return True
