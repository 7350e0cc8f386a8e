"""Waiting, before a program is stopped, until no request to it is in flight.

systemd has a place for that in its units (`ExecStop=`). Under other supervisors we ask here, with the same questions.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Callable, List, Optional, Tuple

from . import attend
from .sockets import Bearer

if TYPE_CHECKING:
    from ..contract.release import Idle

_POLL = 0.05
_LAST_ANSWER = 1.0  # seconds; one that was asked in time may come a little later


def wait_until_idle(idle: Idle, bearer: Optional[Bearer], interrupt: Callable[[], None]) -> str:
    """Wait until all gauges of `idle` are 0, at most its `seconds`; a sentence of what was seen, and after how long.

    A thread asks, so that a service that never ends an answer holds up nobody.

    Args:
        interrupt: called now and then; may raise to stop waiting.
    """
    answers: List[Tuple[bool, str]] = []
    over = threading.Event()

    def ask() -> None:
        question = lambda: attend.is_idle(idle["port"], idle["path"], idle["gauges"], bearer)  # noqa: E731
        answers.append(attend.wait(question, idle["seconds"], over.is_set))

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    until = time.monotonic() + idle["seconds"] + _LAST_ANSWER
    try:
        while asker.is_alive() and time.monotonic() < until:
            interrupt()
            asker.join(_POLL)
    finally:
        over.set()
    done, said = answers[0] if answers else (False, f"after {idle['seconds']:.0f} s: no answer")
    return f"{'idle' if done else 'not idle'} {said}"
