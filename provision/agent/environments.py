"""Python environments by content, shared by releases, each of which links one as `.venv`.

    shared/environments/ID/             what the lock says, for the Python that was found here
    shared/environments/ID-OF-LAYER/    what the project itself adds to it: its scripts, and where its modules are
    shared/environments/sha256-…/uv     the uv that made them
    shared/environments/.cache          uv's own; an environment has its files by another name
    shared/environments/.incoming-wheels    what the toolkit ships; uv compares its digests with the lock's

They are made by `builder`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, List

from ..contract import names
from ..contract.failure import FAILED, REFUSED, Failure
from ..contract.layout import Layout
from . import files

if TYPE_CHECKING:
    from ..contract.answers import EnvironmentFolder
    from ..contract.bringing import IncomingEnvironment
    from ..contract.release import ReleaseDocument

COMPLETE = ".complete"  # in the folder of what came to its end


def present(layout: Layout) -> List[str]:
    """The ids of those on the host that are whole, and whose Python is still there."""
    try:
        found = sorted(name for name in os.listdir(layout.environments) if not name.startswith("."))
    except FileNotFoundError:
        return []
    return [name for name in found if is_whole(layout, name)]


def is_whole(layout: Layout, id_: str) -> bool:
    folder = layout.environment(id_)
    return os.path.exists(os.path.join(folder, COMPLETE)) and os.access(os.path.join(folder, "bin/python"), os.X_OK)


def needed(document: ReleaseDocument) -> List[str]:
    """The ids of what a release's environment is made of; the last one is what it links."""
    environment = document.get("environment")
    if not environment:
        return []
    return [environment["id"], *([environment["layer"]["id"]] if "layer" in environment else [])]


def demand(layout: Layout, document: ReleaseDocument) -> None:
    """Refuse what would run without its environment.

    Raises:
        Failure: it is not here.
    """
    if not all(is_whole(layout, id_) for id_ in needed(document)):
        raise Failure(
            FAILED,
            "the environment of the release is not on this host, or its Python has gone.",
            next_step="deploy up, which makes it again",
        )


def link(layout: Layout, document: ReleaseDocument, folder: str) -> None:
    """Link its environment into a release that has no name yet.

    Raises:
        Failure: it is not here.
    """
    demand(layout, document)
    for id_ in needed(document)[-1:]:
        files.point(os.path.join(folder, names.ENVIRONMENT), f"../../shared/environments/{id_}")


def incoming(layout: Layout, request: IncomingEnvironment) -> EnvironmentFolder:
    """Where wheels arrive, and whether uv has to be among them.

    Raises:
        Failure: there is no uv for this machine.
    """
    machine = os.uname().machine
    if machine not in request["uv"]:
        raise Failure(
            REFUSED,
            f"uv is not pinned for this machine, which is {machine}.",
            next_step='source = "host" in [python], and bring the packages there',
        )
    files.make_folder(layout.incoming_wheels)
    os.utime(layout.incoming_wheels)  # it goes by age
    have = os.path.exists(os.path.join(layout.uv(request["uv"][machine]["sha256"]), COMPLETE))
    return {"event": "result", "folder": layout.incoming_wheels, "machine": machine, "have": have}
