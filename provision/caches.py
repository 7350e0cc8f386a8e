"""Where this user's machine keeps what can be had again: fetched wheels, builds, digests of models."""

from __future__ import annotations

import os
from pathlib import Path


def caches() -> Path:
    """`$XDG_CACHE_HOME/bitnet-provision`, by default under `~/.cache` (XDG Base Directory Specification).

    A relative XDG_CACHE_HOME is to be ignored, the specification says. The folder can be deleted at any time.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "bitnet-provision"
