"""Ctrl-C: once, put everything back; twice, let go and leave the host to finish alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from provision.targets import Interrupt

if TYPE_CHECKING:
    from provision.cli.console import Console
    from provision.targets import Interrupt


@contextmanager
def putting_back(console: Console) -> Iterator[Interrupt]:
    """Until this ends, Ctrl-C asks the hosts to put everything back before it ends the program."""
    interrupt = Interrupt()
    pressed = 0

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            console.note("putting back… (Ctrl-C again: let go, the host finishes alone)")
            raise KeyboardInterrupt  # ends what reached no host yet; `run_on_hosts` passes it on to the others
        if pressed == 2:
            console.note("letting go; the host finishes alone. Follow it with: deploy status")
            while not interrupt.detach:
                interrupt.request()
            return
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
