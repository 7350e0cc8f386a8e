"""Moments that Ctrl-C does not cut: in them something is written that says what is there.

What waited can be asked for afterwards (`Late.demand`), or be left: once a release is committed it is too late for it.
Who presses a second time does not wait.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Late:
    """What came meanwhile."""

    def __init__(self) -> None:
        self.number = 0

    def demand(self) -> None:
        """Have it happen now, if one came."""
        number, self.number = self.number, 0
        if number:
            signal.raise_signal(number)


@contextmanager
def unbroken() -> Iterator[Late]:
    """While this lasts, signals that end a program wait: those that somebody of this program listens to."""
    late = Late()
    if threading.current_thread() is not threading.main_thread():
        yield late  # signals are never heard here
        return
    before: dict[int, Any] = {number: found for number in _SIGNALS if callable(found := signal.getsignal(number))}

    def on_signal(number: int, frame: Any) -> None:
        if late.number and number == signal.SIGINT:
            before[number](number, frame)
        late.number = late.number or number

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield late
    finally:
        for number, found in before.items():
            signal.signal(number, found)
