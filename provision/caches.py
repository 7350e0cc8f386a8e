"""Where this user's machine keeps what can be had again (fetched wheels, builds, digests of models), and what can't."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from provision.errors import Refused


def caches() -> Path:
    """`$XDG_CACHE_HOME/bitnet-provision`, by default under `~/.cache` (XDG Base Directory Specification).

    A relative XDG_CACHE_HOME is to be ignored, the specification says. The folder can be deleted at any time.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "bitnet-provision"


def state() -> Path:
    """`$XDG_STATE_HOME/bitnet-provision`, by default under `~/.local/state`: what can't be had again."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "bitnet-provision"


def demand_writable(folder: Path, next_step: str) -> None:
    """Make `folder`, readable by its user alone, where it is missing.

    Raises:
        Refused: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as failure:
        there = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110  (never raises)
        raise Refused(
            f"nothing can be written to the folder {folder}.",
            why=f"{there}: {failure.strerror}.",
            next_step=next_step,
        ) from None


def demand_caches() -> None:
    """As `demand_writable`, for `caches()`."""
    demand_writable(caches(), "XDG_CACHE_HOME=/some/folder deploy …")
