"""What a rented machine's guard is told, and what it tells of itself. Money in dollars, times in seconds."""

from __future__ import annotations

from typing import List, Literal, Optional, Tuple, TypedDict


class Call(TypedDict):
    """How the machine does something to itself at its provider, with the key that opens it alone."""

    method: str
    url: str
    body: Optional[str]


class _Terms(TypedDict):
    nonce: str  # of this sending
    key: str  # the variable that has the machine's own key
    stop: Call
    destroy: Call
    share: float  # what it may cost in all
    spent: float  # of that, before a guard counted
    per_hour: float
    stopped_per_hour: float
    per_byte_in: float
    per_byte_out: float
    idle: Optional[float]
    when_idle: Literal["stop", "destroy"]
    busy: List[str]
    ports: List[int]  # that are asked for from outside
    path: str  # of the target
    backup: str  # the program that makes one; empty: none is declared


class Sent(_Terms):
    """Times count from when this arrives: no two clocks have to agree."""

    seconds: float  # until it is destroyed
    hours: Optional[List[Tuple[float, float]]]  # when it is wanted; None: always


class Terms(_Terms):
    """As the machine keeps them; times by its own clock, since 1970."""

    ends: float
    hours: Optional[List[Tuple[float, float]]]


class Watched(TypedDict):
    """What the guard has seen, and does."""

    nonce: str  # of the terms that it goes by
    start: str  # of the machine, when this was written
    at: float
    ends: float
    share: float
    spent: float
    received: int  # bytes, as the kernel counts them since `start`
    sent: int
    unused: float  # seconds since somebody used it
    doing: str  # stop, destroy; or empty
    why: str
    said: str  # what the provider answered to that


class Installed(TypedDict, total=False):
    """What became of sending a guard its terms."""

    fault: str  # why it does not go by them
    watched: Watched
