"""From an upload to a release: verified, prepared, on disk, read-only, and only then named.

A name in `releases/` is a promise that everything under it is there and is what the id says.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable, Dict

from ..contract import names, tree
from ..contract.canonical import canonical
from ..contract.failure import FAILED, Failure
from ..contract.layout import Layout
from . import content, data, environments, files, layers, models
from .prepare import prepare
from .takeover import close, give_back, take_over

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.requests import Seal


class Mismatch(Exception):
    """What arrived is not what was sent; `entries` tell what is there (path -> digest)."""

    def __init__(self, entries: Dict[str, str]) -> None:
        super().__init__("the upload differs from the release")
        self.entries = entries


def seal(
    layout: Layout,
    asked: Seal,
    emit: Emit,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Turn `.incoming-NONCE` into `releases/RELEASE`.

    Args:
        stop: called now and then while that runs; may raise.

    Raises:
        Mismatch: the tree's digest is another one.
        Failure: the prepare step failed, a model is missing, a link leads out of the upload, or somebody writes to it.
    """
    release, document = asked["release"], asked["document"]
    if os.path.isdir(layout.release(release)):
        files.remove_tree(layout.incoming(asked["nonce"]))
        return
    folder = layout.incoming(asked["nonce"])
    files.make_folder(folder)
    # What a prepare step may write to has no file in common with a release that is sealed.
    linked = [] if document["prepare"] else [layout.release(name) for name in content.releases(layout)]
    shipper = take_over(folder, linked)
    for path in asked["remove"]:
        _remove_inside(folder, path)
    for path, target in document["links"].items():
        link = names.path_below(folder, "link", path)
        files.make_folder(os.path.dirname(link))
        files.point(link, target)
    for path, text in document.get("texts", {}).items():
        place = names.path_below(folder, "text", path)
        files.make_folder(os.path.dirname(place))
        files.write(place, text)
    for path, model in document["models"].items():
        if not os.path.isdir(layout.model(model["sha256"])):
            raise Failure(FAILED, f"model {path} is not on this host.", next_step="deploy up again: it is shipped once")
        models.give_name(layout, model["sha256"], os.path.basename(path))
    for engine, facts in document.get("engines", {}).items():
        if not os.path.isdir(layout.engine(engine)):
            raise Failure(
                FAILED,
                f"the engine {facts['package']} {facts['version']} is not on this host.",
                next_step="deploy up again: it is shipped once",
            )
    files.discard(os.path.join(folder, names.ENVIRONMENT))  # of an attempt that was cut off
    digest, entries = tree.digest(folder)
    if tree.release_id(canonical(document), digest) != release:
        give_back(folder, shipper)
        raise Mismatch({entry.path: entry.sha256 or entry.target for entry in entries})
    environments.link(layout, document, folder)
    if document["prepare"]:
        found = layers.variables(layout, document, folder)
        prepared = prepare(layout, folder, document["prepare"], asked["secrets"], found, emit, stop)
        document = {**document, "prepared": prepared}
    data.link(layout, folder, document.get("data", {}))
    files.write_json(os.path.join(folder, names.RELEASE_DOCUMENT), document)
    close(folder)
    files.sync_filesystem(folder)
    os.rename(folder, layout.release(release))
    files.sync_directory(layout.releases)


def _remove_inside(folder: str, path: str) -> None:
    full = names.path_below(folder, "left over", path)
    if os.path.isdir(full) and not os.path.islink(full):
        files.remove_tree(full)
    elif os.path.lexists(full):
        os.unlink(full)
