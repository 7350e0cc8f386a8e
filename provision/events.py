"""What a build tells while it runs: plain dictionaries, the same that `--json` prints.

`{"event": "progress", "phase": PHASE, "done": N, "total": M, "unit": "bytes" | "steps"}` (`total` 0: not known)
and `{"event": "message", "phase": PHASE, "text": SENTENCE}`. Phases, in order: `wait`, `download`, `unpack`,
`generate`, `configure`, `compile`, `install`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Event: TypeAlias = dict[str, object]
OnEvent: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Tell nobody."""


def message(phase: str, text: str) -> Event:
    return {"event": "message", "phase": phase, "text": text}


def progress(phase: str, done: int, total: int, *, unit: str) -> Event:
    return {"event": "progress", "phase": phase, "done": done, "total": total, "unit": unit}
