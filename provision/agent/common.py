"""One file on a host for all projects of an account that have the same model, of the same blocks.

What another project has is believed as our own is: all that leads to it is this account's alone, it lies under the name
that its digest gave it, and nobody writes to it. It is compared with that digest all the same before it counts here.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
from typing import TYPE_CHECKING, Iterable, Iterator, List

from ..contract.layout import Layout
from . import files, guard, models
from .folders import host_folder

if TYPE_CHECKING:
    from ..contract.events import Emit


def elsewhere(layout: Layout, wanted: Iterable[str]) -> List[str]:
    """Those models, by sha256, that this project lacks, and another one of this account on this host has."""
    lacking = set(wanted) - set(models.present(layout))
    return sorted(sha256 for sha256 in lacking if any(_found(layout, sha256)))


def take(layout: Layout, wanted: Iterable[str], emit: Emit) -> None:
    """Let such models be here too."""
    for sha256 in elsewhere(layout, wanted):
        for path in _found(layout, sha256):
            if models.digest(path, emit) == sha256:
                share(os.path.dirname(path), layout.model(sha256))
                break


def share(source: str, folder: str) -> None:
    """Let what is there by content be there too, of the same blocks; where that can't be, it is brought."""
    if not os.path.isdir(source) or os.path.isdir(folder):
        return
    parent, name = os.path.split(folder)
    files.make_folder(parent)
    half = os.path.join(parent, f".trash-{name}")
    files.remove_tree(folder)  # what an earlier try has left
    try:
        shutil.copytree(source, half, symlinks=True, copy_function=_link)
        os.rename(half, folder)
        os.utime(folder)
    except OSError:
        files.remove_tree(folder)
    files.sync_directory(parent)


def _link(source: str, to: str) -> None:
    os.link(source, to, follow_symlinks=False)


def _others(layout: Layout) -> Iterator[Layout]:
    """The other projects of this account, as they are listed for a restart of the host."""
    for path in sorted(glob.glob(os.path.join(glob.escape(host_folder()), "projects", "*.json"))):
        root = str((files.read_json(path) or {}).get("root", ""))
        if root and root != layout.root and os.path.isdir(root):
            yield Layout(root)


def _found(layout: Layout, sha256: str) -> Iterator[str]:
    """Where other projects have a model that may be believed, on our disk: beyond it no file has two names."""
    device = os.stat(files.nearest(layout.models)).st_dev
    for other in _others(layout):
        folder = other.model(sha256)
        if not os.path.isdir(folder) or guard.fault(other) is not None:
            continue
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            seen = os.lstat(path)
            is_ours = stat.S_ISREG(seen.st_mode) and seen.st_uid == os.geteuid() and not seen.st_mode & 0o222
            if is_ours and seen.st_dev == device:
                yield path
                break
