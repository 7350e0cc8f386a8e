"""Probe of `tcp`: something listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...contract.checks import CheckDocument
    from ...contract.events import Facts
    from .check import Reach

    class TcpCheck(CheckDocument):
        host: str
        port: int


def attempt(check: TcpCheck, reach: Reach, seconds: float) -> Facts:
    reach.connect(check["host"], check["port"], seconds)
    return {}
