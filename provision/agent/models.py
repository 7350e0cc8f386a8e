"""Models by content: uploaded once, verified, and never written to again."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Dict, List

from ..contract import tree
from ..contract.failure import FAILED, Failure
from ..contract.layout import Layout
from . import files, pieces
from .takeover import close, take_over

if TYPE_CHECKING:
    from ..contract.answers import Present
    from ..contract.events import Emit

_BLOCK = 8 << 20


def present(layout: Layout) -> List[str]:
    """sha256 of each model on the host."""
    try:
        names = os.listdir(layout.models)
    except FileNotFoundError:
        return []
    there = (name[len("sha256-") :] for name in names if name.startswith("sha256-"))
    return sorted(sha256 for sha256 in there if os.path.isdir(layout.model(sha256)))


def receive(layout: Layout, sha256: str) -> str:
    """The folder in which a model arrives, made; what an upload that was cut left there is where it goes on."""
    folder = layout.incoming_model(sha256)
    if os.path.lexists(folder) and (os.path.islink(folder) or not os.path.isdir(folder)):
        os.unlink(folder)  # no upload of ours made it
    files.make_folder(folder)
    take_over(folder)  # for as long as we do something in it; then it is the login account's again
    apart = os.path.join(folder, ".rsync-partial")  # of versions that did not write in place
    if os.path.isdir(apart) and not os.path.islink(apart):
        for name in os.listdir(apart):
            os.replace(os.path.join(apart, name), os.path.join(folder, name))
        os.rmdir(apart)
    return folder


def arrived(layout: Layout) -> Dict[str, int]:
    """Bytes of each model whose upload was cut, by sha256."""
    found = {}
    for name in os.listdir(layout.models) if os.path.isdir(layout.models) else ():
        if name.startswith(".incoming-"):
            found[name[len(".incoming-") :]] = _size(os.path.join(layout.models, name))
    return found


def _size(folder: str) -> int:
    """Bytes of the files in a folder; of one that is gone, none: it got its name meanwhile."""
    fetched = pieces.arrived(folder)
    if fetched is not None:
        return fetched
    total = 0
    with contextlib.suppress(OSError):
        for parent, _, names in tree.walk(folder):
            total += sum(os.lstat(os.path.join(folder, parent, name)).st_size for name in names)
    return total


class Damaged(Failure):
    """What arrived is another file than was meant."""

    def __init__(self, kind: str, name: str, found: str, sha256: str) -> None:
        super().__init__(
            FAILED,
            f"{kind} {name} arrived damaged: sha256 {found[:16]}…, expected {sha256[:16]}….",
            next_step="deploy up again; if it repeats, look at the disk of the host or of this machine",
        )
        self.found = found


def adopt(layout: Layout, sha256: str, name: str, emit: Emit) -> Present:
    """Verify what arrived and give it its name; a wrong one is removed, so that the next try starts anew.

    Raises:
        Failure: it is not what it should be, or somebody writes to it.
    """
    try:
        return accept(layout, sha256, name, emit)
    except Damaged:
        files.remove_tree(layout.incoming_model(sha256))
        raise


def accept(layout: Layout, sha256: str, name: str, emit: Emit) -> Present:
    """Verify what arrived and give it its name.

    Raises:
        Damaged: it is not what it should be, and lies there still, read-only.
        Failure: somebody writes to it.
    """
    final = layout.model(sha256)
    if os.path.isdir(final):
        return {"event": "result", "present": True}
    folder = layout.incoming_model(sha256)
    take_over(folder)
    for other in set(os.listdir(folder)) - {name}:  # of a fetch, or begun when it was called otherwise
        files.remove_tree(os.path.join(folder, other))
        files.discard(os.path.join(folder, other))
    close(folder)
    found = digest(os.path.join(folder, name), emit)
    if found != sha256:
        raise Damaged("model", name, found, sha256)
    close(folder)  # nobody has opened it meanwhile, where no mode holds one off
    files.sync_directory(folder)
    if os.path.lexists(final):
        os.unlink(final)  # a file, or a link to nothing: no model is called so
    os.rename(folder, final)
    files.sync_directory(layout.models)
    return {"event": "result", "present": False}


def verify(path: str, sha256: str, kind: str, emit: Emit) -> None:
    """Hash what arrived and bring it to the disk; a folder with a wrong one is removed, so that the next try is new.

    Raises:
        Failure: it is not what it should be.
    """
    name, found = os.path.basename(path), digest(path, emit)
    if found != sha256:
        files.remove_tree(os.path.dirname(path))
        raise Damaged(kind, name, found, sha256)


def give_name(layout: Layout, sha256: str, name: str) -> None:
    """Let a model that is there be found as `name` too: what is called otherwise elsewhere has the same content."""
    folder = layout.model(sha256)
    there = sorted(os.listdir(folder))
    if name not in there and there:
        os.link(os.path.join(folder, there[0]), os.path.join(folder, name), follow_symlinks=False)
        files.sync_directory(folder)


def digest(path: str, emit: Emit) -> str:
    """sha256 of a large file, told as it goes, and of what is on the disk then.

    Raises:
        OSError: it is no file by itself, but a link to one.
    """
    total, done = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        for block in iter(lambda: stream.read(_BLOCK), b""):
            total.update(block)
            done += len(block)
            emit({"event": "progress", "phase": "verify", "file": os.path.basename(path), "done": done, "total": size})
        os.fsync(stream.fileno())
    return total.hexdigest()
