"""What the reaper is asked, and what it tells. Types alone: it stands alone itself."""

from __future__ import annotations

from typing import Dict, List, Optional, TypedDict


class Asked(TypedDict):
    argv: List[str]
    cwd: str
    env: Dict[str, str]
    seconds: float
    tell: int  # the descriptor that news go to, a line each
    hold: List[int]  # descriptors that stay open until the last process has ended


class News(TypedDict, total=False):
    error: int  # why it does not start
    pid: int
    status: Optional[int]  # negative for a signal; None where nobody saw it end
    late: bool
    ended: int  # processes that it left behind, and that were ended
    left: int  # those that could not be
