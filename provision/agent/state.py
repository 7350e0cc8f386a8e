"""The state and the history of a project, as they are on disk: one file each, replaced in one step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, List, Optional

from ..contract.layout import Layout
from ..contract.state import State, from_dict, previous
from . import files

if TYPE_CHECKING:
    from ..contract.records import HistoryEntry, OnceRecord


def read_state(layout: Layout) -> State:
    """The committed state; an empty one where nothing was ever deployed.

    Versions that did not write down whose it is, wrote that into each release.
    """
    value = files.read_json(layout.state)
    if value is None:
        return State()
    state = from_dict(value, layout.state)
    return state if state.project else state._replace(project=_project(layout, state))


def _project(layout: Layout, state: State) -> str:
    served = [*state.channels.values(), *(program.release for program in state.programs.values())]
    for entry in [] if served else reversed(history(layout)):
        served += entry.get("channels", {}).values()
    documents = (files.read_json(layout.document(release)) or {} for release in served)
    return next((str(document["project"]) for document in documents if document.get("project")), "")


def write(layout: Layout, state: State) -> None:
    files.write_json(layout.state, state.as_dict(), 0o644)


def entry_name(sequence: int) -> str:
    """What a transaction's file in the history is called."""
    return f"{sequence:08d}.json"


def history(layout: Layout) -> List[HistoryEntry]:
    """Committed transactions, oldest first."""

    try:
        names = sorted(name for name in os.listdir(layout.history) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    entries = [files.read_json(os.path.join(layout.history, name)) for name in names]
    return [entry for entry in entries if entry is not None]


def once(layout: Layout) -> List[OnceRecord]:
    """What became of each command that runs once a release, oldest first."""
    found: List[OnceRecord] = files.read_json(layout.once) or []
    return found


def way_back(layout: Layout, state: State, entries: List[HistoryEntry]) -> Optional[str]:
    """`previous` of the stable channel, on the host: of the releases that its project can be rolled back to.

    Versions that did not write down whose a folder is let a project be renamed, or another one take its place, without
    a word in the history; and a supervisor of another kind needs another release. Both say the releases themselves.
    """
    while True:
        back = previous(entries, state.channels.get("stable"))
        document = (files.read_json(layout.document(back)) or {}) if back else {}
        meant = {"project": state.project, "platform": state.platform}
        if all(not here or document.get(what, here) == here for what, here in meant.items()):
            return back
        entries = [entry for entry in entries if entry.get("channels", {}).get("stable") != back]
