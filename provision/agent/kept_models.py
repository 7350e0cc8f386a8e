"""The models that a project's host has: how large, for which releases, until when each served; and what can go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Dict, List

from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import content, files, models
from . import state as states
from .documents import read_documents
from .locks import Lock, refuse

if TYPE_CHECKING:
    from ..contract.answers import KeptModel, KeptModels
    from ..contract.bringing import KeepModels
    from .session import Conversation


def answer(session: Conversation, request: KeepModels) -> KeptModels:
    """What is there, after what was asked for was done.

    Raises:
        Failure: somebody is deploying.
    """
    layout, gone = session.layout, []  # type: Layout, List[KeptModel]
    if request["prune"]:
        gone = _prune(session)
    kept = _kept(layout)
    for model in kept if request["verify"] else ():
        path = os.path.join(layout.model(model["sha256"]), model["names"][0])
        model["damaged"] = models.digest(path, session.emit) != model["sha256"]
    return {"event": "result", "models": kept, "removed": gone}


def _kept(layout: Layout) -> List[KeptModel]:
    documents = read_documents(layout, content.releases(layout))
    served = _served(layout)
    found: List[KeptModel] = []
    for sha256 in models.present(layout):
        folder = layout.model(sha256)
        names = sorted(os.listdir(folder))
        if not names:
            continue
        used = sorted(
            release
            for release, document in documents.items()
            if any(model["sha256"] == sha256 for model in document["models"].values())
        )
        last = [served[release] for release in used if release in served]
        found.append(
            {
                "sha256": sha256,
                "names": names,
                "bytes": os.lstat(os.path.join(folder, names[0])).st_size,
                "releases": used,
                "serves": 0.0 in last,
                "last": max(last, default=0.0),
                "damaged": False,
            }
        )
    return found


def _served(layout: Layout) -> Dict[str, float]:
    """Until when each release served; 0.0 of one that does now."""
    found: Dict[str, float] = {}
    before: List[str] = []
    for entry in states.history(layout):
        for release in before:
            found[release] = entry["time"]
        before = [*entry.get("channels", {}).values()]
    for release in states.read_state(layout).releases():
        found[release] = 0.0
    return found


def _prune(session: Conversation) -> List[KeptModel]:
    """Remove those that no release on the host has: none of them can be gone back to."""
    layout = session.layout
    holder = Lock(layout.lock).holder()
    if holder:
        raise refuse("a transaction of this project is running.", holder)
    if not session.claim.take({"who": session.header["who"], "doing": "pruning models", "nonce": ""}):
        raise refuse("somebody else is deploying this project.", session.claim.holder() or {})
    if os.path.exists(layout.journal):
        raise Failure(REFUSED, "a transaction of this project was interrupted.", next_step="deploy unlock")
    gone = [model for model in _kept(layout) if not model["releases"]]
    for model in gone:
        files.remove_tree(layout.model(model["sha256"]))
    return gone
