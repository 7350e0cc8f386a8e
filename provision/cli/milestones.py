"""What a log is told of what happens: each sentence, and of progress a line each tenth, or each minute while it moves.

A log has no bar. It has to show that a compile lives, and to stay short when small files are shipped to many hosts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from provision.cli.sentences import in_bytes, moved, sentence

_MINUTE = 60.0
# Bytes that pass faster than this are over before anybody has read how far they are.
_APART_SECONDS = 2.0


@dataclass
class _Told:
    """What was told of a progress, and how it began: what was there before does not say how fast the rest comes."""

    tenths: int
    when: float
    first: int
    began: float


class Milestones:
    """Remembers what was told of each progress: a host's phase, and in it a file."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: dict[tuple[str, ...], _Told] = {}

    def tell(self, event: Mapping[str, Any]) -> str | None:
        """The line for `event`; None where it is not worth one."""
        return self._progress(event) if event["event"] == "progress" else sentence(event)

    def _progress(self, event: Mapping[str, Any]) -> str | None:
        of = tuple(str(event.get(key) or "") for key in ("host", "phase", "file"))
        done, total, now = event["done"], event.get("total") or 0, self._now()
        told = self._told.setdefault(of, _Told(0, now, done, now))
        if total and done == total:
            del self._told[of]
            # A model that is read before it is shipped is no news, unless it took its time.
            return sentence(event) if event["phase"] != "hash" or told.tenths > 0 else None
        reached = max(told.tenths, done * 10 // total) if total else told.tenths
        apart = _MINUTE if reached == told.tenths else _APART_SECONDS if in_bytes(event) else 0.0
        if now - told.when < apart:
            return None
        told.tenths, told.when = reached, now
        rate = (done - told.first) / (now - told.began) if in_bytes(event) and now > told.began else 0.0
        said = moved(event, max(0.0, rate))
        return f"{event['host']}: {said}" if event.get("host") else said
