"""Folders of a release that outlive it: what programs write there lies in `shared/data`, which every release links to.

What a release brings there itself is kept in it, read-only, under another name; it is what `shared/data` begins with
where nothing is there yet. Whatever is there stays: through deploys that fail, rollbacks, and releases that go.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Iterable, Iterator, Mapping, Optional

from ..contract import names, tree
from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import files, place, trust
from .launch import owner

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument

SEED = names.PARTIAL + "/seed"  # in a release: a name that no project ships


def link(layout: Layout, folder: str, declared: Mapping[str, str]) -> None:
    """Let each path of `declared` in an upload lead to `shared/data`, and let there be something.

    Args:
        declared: path in the release -> the account that writes there; empty for our own.

    Raises:
        Failure: somebody else could change where it leads to, or something else is there.
    """
    for path, account in declared.items():
        inside = names.path_below(folder, "data", path)
        seed = os.path.join(folder, SEED, path)
        if os.path.isdir(inside) and not os.path.islink(inside):
            files.make_folder(os.path.dirname(seed))
            os.rename(inside, seed)
        _begin(os.path.join(layout.shared, "data", path), seed, owner(account))
        files.make_folder(os.path.dirname(inside))
        files.point(inside, "../" * (path.count("/") + 2) + f"shared/data/{path}")


def demand(layout: Layout, document: ReleaseDocument) -> None:
    """Refuse a release whose services can't write where an account of before did: it is not taken from that one.

    Raises:
        Failure: which folder, and how it is given to the account of now.
    """
    for path, account in document.get("data", {}).items():
        folder = os.path.join(layout.shared, "data", path)
        if owner(account) is None or not os.path.isdir(folder) or place.grants(account, folder, os.W_OK | os.X_OK):
            continue
        raise Failure(
            REFUSED,
            f"{account} can't write to {folder}, which belongs to {trust.account(os.stat(folder).st_uid)}.",
            why="It is `data` of a service that runs as another account now. What runs may still write there.",
            next_step=f"on the host: chown -R {account} {folder}; then: deploy up",
        )


def _begin(folder: str, seed: str, uid: Optional[int]) -> None:
    """Make what a program is to write to, unless it is there."""
    wrong = trust.fault(os.path.dirname(folder))
    if wrong:
        raise Failure(
            REFUSED,
            f"what [project] data keeps can't be put into {os.path.dirname(folder)}: {wrong}.",
            next_step=wrong.remedy,
        )
    if os.path.lexists(folder):
        if os.path.islink(folder) or os.path.isdir(folder):
            return
        raise Failure(
            REFUSED,
            f"{folder} is no folder, and [project] data keeps one there.",
            next_step=f"move it away (mv {folder} {folder}.old), then: deploy up",
        )
    files.make_folder(os.path.dirname(folder))
    temporary = files.temporary_of(folder)
    files.remove_tree(temporary)
    if os.path.isdir(seed):
        shutil.copytree(seed, temporary, symlinks=True, copy_function=shutil.copy)
    else:
        os.mkdir(temporary, 0o755)
    for parent, folders, others in [*tree.walk(temporary)]:
        for name in (*folders, *others, *([""] if not parent else [])):
            _give(os.path.join(temporary, parent, name).rstrip("/"), uid)
    files.sync_filesystem(temporary)
    os.rename(temporary, folder)
    files.sync_directory(os.path.dirname(folder))


def _give(path: str, uid: Optional[int]) -> None:
    """Make it the account's own, to be written to."""
    if not os.path.islink(path):
        os.chmod(path, os.stat(path).st_mode | 0o600)
    if uid is not None:
        os.chown(path, uid, -1, follow_symlinks=False)


def as_shipped(entries: Iterable[tree.Entry], document: ReleaseDocument) -> Iterator[tree.Entry]:
    """What a release was shipped with, of what lies in it now."""
    declared = document.get("data", {})
    for entry in entries:
        if entry.path.startswith(SEED + "/"):
            yield entry._replace(path=entry.path[len(SEED) + 1 :])
        elif entry.path not in declared:
            yield entry
