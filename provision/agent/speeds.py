"""How fast models came here last, by who sent them: bytes a second, so that a plan can say how long the next one takes.

A note and no promise: what can't be read is no speed, and what can't be written is left out.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Dict

from . import files

if TYPE_CHECKING:
    from ..contract.layout import Layout

_FILE = "speeds.json"
_LEAST = 1 << 20  # bytes: less says how long it takes to begin
_MOST = 16  # sources


def note(layout: Layout, source: str, count: int, seconds: float) -> None:
    """That so many bytes came from `source`; the one that is not heard of for longest is forgotten."""
    if count < _LEAST or seconds <= 0:
        return
    known = read(layout)
    known.pop(source, None)
    known[source] = round(count / seconds, 1)
    with contextlib.suppress(OSError):
        files.write_json(os.path.join(layout.private, _FILE), {"last": [*known.items()][-_MOST:]})


def read(layout: Layout) -> Dict[str, float]:
    """By source, the one that was heard of last at the end."""
    try:
        said = files.read_json(os.path.join(layout.private, _FILE))
        return {str(source): float(speed) for source, speed in said["last"] if float(speed) > 0}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
