"""A check as data: what has to be true of a service. Types alone; plain JSON."""

from __future__ import annotations

from typing import TypedDict


class CheckDocument(TypedDict):
    """What every kind has; each adds what its probe needs (`agent/checks`)."""

    name: str  # as in "fastapi http /docs"
    kind: str
    timeout: float  # seconds until it must have passed
    interval: float  # seconds between attempts
    passes: int  # in a row
    attempt_timeout: float  # seconds
