"""What was mended on a host, as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def mended_lines(mended: dict[str, Any]) -> Iterator[str]:
    """One line for the host, and one for each thing that was done."""
    done = bool(mended["closed"] or mended["aside"] or mended["ended"] or mended["front"])
    yield f"{mended['host']}: {'mended' if done else 'nothing to mend'}"
    for path in mended["closed"]:
        yield f"  closed to others: {path}"
    for path, place in mended["aside"].items():
        yield f"  set aside: {path}, now {place}"
    yield from (f"  put right: {text}" for text in mended["front"])
    for name in mended["ended"]:
        yield f"  ended: {name}; deploy up starts it again"
