"""What is known of big files, so that an unchanged one is not read again.

As git's index does, a file is taken for unchanged while its size, times and inode are; programs can set the time of
its content, and none that of its status. One that was changed within the last moments is not remembered: it could
change once more without its time changing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from provision import whole
from provision.caches import caches

_FORMAT = 3  # before, the time of the status did not count
_SETTLED_NS = 2_000_000_000  # the coarsest file times in use (FAT) have two seconds


def mark(status: os.stat_result) -> tuple[int, ...]:
    """What tells that a file is another, or has other content, than when it had another mark."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def recall(path: Path) -> dict[str, Any] | None:
    """What was remembered of the file as it is now."""
    try:
        known: dict[str, Any] = json.loads(_place(path, path.stat()).read_text())
    except (OSError, ValueError):
        return None
    return known


def remember(path: Path, read: os.stat_result, facts: dict[str, Any]) -> None:
    """Keep `facts` of the file as it was when it had the status `read`. A cache that can't be written is none."""
    if time.time_ns() - max(read.st_mtime_ns, read.st_ctime_ns) < _SETTLED_NS:
        return
    place = _place(path, read)
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        whole.write(place, json.dumps(facts).encode())


def _place(path: Path, status: os.stat_result) -> Path:
    identity = [_FORMAT, str(path.resolve()), *mark(status)]
    return caches() / "models" / hashlib.sha256(json.dumps(identity).encode()).hexdigest()
