"""A unix socket at which the keeper answers this project's agent, and nobody else.

A line of JSON each way. Before it answers, it writes down all that it has counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Callable, List, Optional, TypedDict

from ...contract.layout import Layout
from ...contract.rollout import FindingDocument
from .. import nearby

NAME = "keeper.sock"
_WAITING = 8
_SECONDS = 2.0  # that a guest may take
_ANSWER_SECONDS = 5.0
_QUESTION = b"now\n"
_LARGEST = 1 << 20
_LONGEST = 2000  # characters of a sentence
_LATEST = 1e10  # seconds


class _Told(TypedDict):
    says: str  # empty: no step goes on
    findings: List[FindingDocument]


class Told(_Told, total=False):
    """How a rollout's step stands."""

    seconds: float  # that it has gone on; left out where there is none


class Door:
    """Where it answers."""

    def __init__(self, layout: Layout, answer: Callable[[], Told]) -> None:
        self._listener = nearby.listen(layout.traffic, NAME, _WAITING)
        self._answer = answer

    def fileno(self) -> int:
        return self._listener.fileno()

    def close(self) -> None:
        self._listener.close()

    def open(self) -> None:
        """Answer who came, if somebody did."""
        with contextlib.suppress(OSError, ValueError):
            guest, _ = self._listener.accept()
            with guest:
                guest.settimeout(_SECONDS)
                if nearby.peer(guest) in (0, os.geteuid()) and guest.recv(len(_QUESTION)) == _QUESTION:
                    guest.sendall(json.dumps(self._answer()).encode() + b"\n")


def ask(layout: Layout) -> Optional[Told]:
    """What the keeper says now; None where it does not answer."""
    said = b""
    until = time.monotonic() + _ANSWER_SECONDS
    try:
        with nearby.connect(layout.traffic, NAME, _ANSWER_SECONDS) as connection:
            if nearby.peer(connection) not in (0, os.geteuid()):
                return None
            connection.sendall(_QUESTION)
            while not said.endswith(b"\n") and len(said) < _LARGEST:
                connection.settimeout(max(0.001, until - time.monotonic()))
                block = connection.recv(1 << 16)
                if not block:
                    return None
                said += block
        return _judged(json.loads(said))
    except (OSError, ValueError, RecursionError):
        return None


def _judged(said: object) -> Optional[Told]:
    """What a keeper can say; None where it is something else. Which findings can be, their rollout says."""
    if not isinstance(said, dict) or not isinstance(said.get("says"), str):
        return None
    told: Told = {"says": said["says"][:_LONGEST], "findings": said.get("findings", [])}
    seconds = said.get("seconds")
    if isinstance(seconds, (int, float)) and 0 <= seconds <= _LATEST:
        told["seconds"] = float(seconds)
    return told
