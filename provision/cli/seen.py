"""Releases that this machine saw on hosts, so that a shell can complete them without asking anybody.

A cache: it can be deleted at any time, and one that can't be written is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from provision.caches import caches

_KEPT = 50  # of each target


def remember(directory: Path, target: str, found: Iterable[str]) -> None:
    """Note releases of a target, the newest last."""
    before = _read(directory)
    kept = before.get(target, [])
    new = [*dict.fromkeys([*reversed([each for each in found if each]), *kept])][:_KEPT]
    if new == kept:
        return
    place = _place(directory)
    from provision import whole  # not for who only completes

    with contextlib.suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        whole.write(place, json.dumps({**before, target: new}).encode())


def releases(directory: Path, target: str = "") -> list[str]:
    """Those of the target, or of all, the newest first."""
    known = _read(directory)
    return [release for name, each in known.items() if target in ("", name) for release in each]


def _read(directory: Path) -> dict[str, list[str]]:
    try:
        known = json.loads(_place(directory).read_text())
        return {str(name): [str(each) for each in found][:_KEPT] for name, found in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _place(directory: Path) -> Path:
    return caches() / "seen" / hashlib.sha256(str(directory.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
