"""Who has a lock, as its file says. Types alone."""

from __future__ import annotations

from typing import TypedDict


class Holder(TypedDict, total=False):
    """Who has a lock, as its file says."""

    who: str
    doing: str
    pid: int
    since: int  # seconds since 1970
    nonce: str  # of the upload that a claim is for
    transaction: str
    project: str  # the folder of the project whose transaction keeps the host
