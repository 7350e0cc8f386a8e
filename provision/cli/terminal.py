"""This terminal, lent to a command on a host: keys go there as they are, and what it says comes back as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import termios
import threading
import tty
from typing import TYPE_CHECKING

from provision.errors import DeployError
from provision.hosts import TerminalSize

if TYPE_CHECKING:
    from provision.hosts import Channel

_KEYS = 4096  # bytes that are read at once


def size() -> TerminalSize:
    """How large it is now."""
    found = shutil.get_terminal_size()
    return TerminalSize(os.environ.get("TERM", "dumb"), found.columns, found.lines)


def lend(channel: Channel) -> None:
    """Until the command has ended; then the terminal is as it was."""
    keys = sys.stdin.fileno()
    before, on_resize = termios.tcgetattr(keys), signal.getsignal(signal.SIGWINCH)

    def type_on() -> None:
        with contextlib.suppress(DeployError, OSError):  # it has ended
            while typed := os.read(keys, _KEYS):
                channel.send(typed)
            channel.end_input()

    sys.stdout.flush()
    try:
        tty.setraw(keys)
        signal.signal(signal.SIGWINCH, lambda *_: channel.resize(size()))
        threading.Thread(target=type_on, daemon=True, name="keys").start()
        channel.pour_into(sys.stdout.fileno())
    finally:
        signal.signal(signal.SIGWINCH, on_resize)
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
