"""Ctrl-C, and SIGTERM, which is what CI sends when a job is cancelled: both ask a verb to put back what it does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def asked_to_end(act: Callable[[int], None]) -> Iterator[None]:
    """Until this ends, `act` is called when somebody asks for it, with how often that was by now.

    A SIGTERM counts as the first one alone: CI sends it some seconds after a Ctrl-C of its own.
    """
    times = 0

    def on_signal(number: int, _frame: object) -> None:
        nonlocal times
        if times and number == signal.SIGTERM:
            return
        times += 1
        act(times)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
