"""A model's file on this machine is read whole once, for its digest and its header; then it is remembered."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.errors import UsageError
from provision.release import cache

if TYPE_CHECKING:
    from bitnet.model import PartFacts

_CHUNK = 8 << 20


@dataclass(frozen=True)
class Hashing:
    """An event: how much of a model has been read."""

    path: Path
    done: int
    total: int


def hashed(path: Path, subject: str, on_event: Callable[[Hashing], None] | None) -> dict[str, Any]:
    """Its `sha256`, its `bytes` and what its header says, as `PartFacts` has it.

    Args:
        subject: what declares it.

    Raises:
        UsageError: it is missing, can't be read, or is no GGUF file.
    """
    with _explained(path, subject):
        known = cache.recall(path)
        return _read(path, subject, on_event) if known is None else known


def look_at(path: Path, subject: str) -> None:
    """Raise as `hashed` does, as far as its header tells."""
    with _explained(path, subject):
        if cache.recall(path) is None:
            with path.open("rb"):
                _header(path, subject)


@contextmanager
def _explained(path: Path, subject: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        what = f"{path} is a link to {path.readlink()}, which" if path.is_symlink() else path
        raise UsageError(
            f"{subject}: {what} does not exist",
            next_step=f"put it there; a small one to try with: {shlex.join(['deploy', 'native', 'model', str(path)])}",
        ) from None
    except OSError as error:
        raise UsageError(f"{subject}: {path} cannot be read", why=error.strerror or str(error)) from None


def _read(path: Path, subject: str, on_event: Callable[[Hashing], None] | None) -> dict[str, Any]:
    digest = hashlib.sha256()
    done = 0
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        part = _header(path, subject)
        while block := file.read(_CHUNK):
            digest.update(block)
            done += len(block)
            if on_event:
                on_event(Hashing(path, done, status.st_size))
    facts = {**asdict(part), "sha256": digest.hexdigest(), "bytes": done}
    cache.remember(path, status, facts)
    return facts


def _header(path: Path, subject: str) -> PartFacts:
    from bitnet.model import ModelUnusable, read_part  # brings numpy, and is needed once a model

    try:
        return read_part(path)
    except ModelUnusable as error:
        raise UsageError(f"{subject}: {error.what}", why=f"{error.why}.", next_step=error.next_step) from None
