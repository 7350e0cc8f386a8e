"""Ctrl-C, or SIGTERM: put everything back. Ctrl-C twice: let go, and leave the host to finish alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from provision.cli.signals import asked_to_end
from provision.targets import Interrupt

if TYPE_CHECKING:
    from provision.cli.console import Console


@contextmanager
def putting_back(console: Console) -> Iterator[Interrupt]:
    """Until this ends, either asks the hosts to put everything back before it ends the program."""
    interrupt = Interrupt()

    def act(times: int) -> None:
        if times == 1:
            console.note("putting back… (Ctrl-C again: let go, the host finishes alone)")
            raise KeyboardInterrupt  # ends what reached no host yet; `run_on_hosts` passes it on to the others
        if times == 2:
            console.note("letting go; the host finishes alone. Follow it with: deploy status")
            while not interrupt.detach:
                interrupt.request()
            return
        raise KeyboardInterrupt

    with asked_to_end(act):
        yield interrupt
