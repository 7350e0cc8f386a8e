"""Models that this machine fetches for hosts that can't: once, into the Hub's own cache, or into ours.

What is at the Hub is fetched by its own library, so that what other programs have brought there is used, and what is
brought is theirs too; nothing else there is changed. What is elsewhere goes below `caches()`. Each is hashed once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from provision.caches import caches, demand_caches
from provision.errors import DeployError
from provision.models.access import access
from provision.models.ranges import Ranges
from provision.release.cache import mark

if TYPE_CHECKING:
    from provision.release import ModelFile

Tell = Callable[[int, int], None]  # bytes that are there, of how many; raises where nobody wants it any more

_PIECE = 8 << 20
_here = threading.Lock()  # many hosts ask at once


def here(model: ModelFile, token: str, variables: Mapping[str, str], tell: Tell) -> Path:
    """The file on this machine, by the name that hosts have to know it by.

    Raises:
        DeployError: it can't be had, or is another file.
    """
    from provision.models import hub

    demand_caches()
    folder = caches() / "relayed" / model.sha256
    with _here, _alone(folder):
        try:
            if place := hub.Place.of(model.url):
                content = hub.kept(place, token)
            else:
                content = folder / "content"
                _fetch(model, content, token, variables, tell)
            _verify(model, content, folder / "verified")
            link = folder / PurePosixPath(model.relative).name
            if not (link.is_symlink() and link.readlink() == content):
                link.unlink(missing_ok=True)
                link.symlink_to(content)
        except OSError as error:
            raise DeployError(f"{model.relative} can't be kept here.", why=f"{folder}: {error.strerror}.") from None
    return link


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other process of ours does the same."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(model: ModelFile, content: Path, token: str, variables: Mapping[str, str], tell: Tell) -> None:
    """Bring what is missing of it; what was cut off goes on from there."""
    with content.open("ab") as file:
        done, opened = file.tell(), access(model.url, token, variables)
        ranges = Ranges(opened.url, opened.authorization)
        while done < model.bytes:
            if opened.has_ended:
                opened = access(model.url, token, variables)
                ranges = Ranges(opened.url, opened.authorization)
            part = ranges.read(done, min(done + _PIECE, model.bytes))
            if part.whole != model.bytes or not part.content:
                raise DeployError(
                    f"what {model.fetched_from} has is not {model.relative} as it was locked.",
                    why=f"It has {part.whole} bytes there, and {model.bytes} in models.lock.",
                    next_step="deploy model lock, and look at what has changed",
                )
            done += file.write(part.content)
            tell(done, model.bytes)
        file.flush()
        os.fsync(file.fileno())


def _verify(model: ModelFile, content: Path, note: Path) -> None:
    """Compare it with its digest, unless that was done and it did not change."""
    with content.open("rb") as file:
        seen = json.dumps([str(content), *mark(os.fstat(file.fileno()))])
        if note.is_file() and note.read_text() == seen:
            return
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == model.sha256:
        note.write_text(seen)
        return
    if content.parent == note.parent:
        content.unlink()  # ours, so that the next run starts anew
    raise DeployError(
        f"what {model.fetched_from} has is not {model.relative} as it was locked.",
        why=f"{content}: sha256 {found[:16]}…, expected {model.sha256[:16]}….",
        next_step="deploy up again; if it repeats: deploy model lock, and look at what has changed",
    )
