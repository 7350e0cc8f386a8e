"""Files of this machine that are whole at any moment: written beside their place, then put there; one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write(path: Path, content: bytes, mode: int = 0o600, *, synced: bool = False) -> None:
    """Let the file at `path` be this, in a folder that is there; nobody but its owner reads what is half written.

    What was killed before it was there keeps its name's beginning: `.env` with more behind it is no release's.

    Args:
        synced: on the disk before it gets its name.

    Raises:
        OSError: it can't be written; it is as it was.
    """
    hidden = path.name if path.name.startswith(".") else f".{path.name}"
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{hidden}.")  # 0600, from its first byte
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        draft.chmod(mode)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one who writes in `folder`. The lock is the folder's own, so no file of it is left behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
