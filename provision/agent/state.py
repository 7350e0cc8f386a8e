"""The state and the history of a project, as they are on disk: one file each, replaced in one step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Dict, List, Optional

from ..contract import rollout
from ..contract.layout import Layout
from ..contract.outcome import COMMITTED
from ..contract.state import State, from_dict, previous
from . import files, stepped

if TYPE_CHECKING:
    from ..contract.records import Begin, Begun, HistoryEntry, OnceRecord


def read_state(layout: Layout) -> State:
    """The committed state, with the steps that a keeper took who may not write it."""
    return stepped.current(layout, committed(layout))


def committed(layout: Layout) -> State:
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
    for entry in [] if served else reversed(_kept(layout)):
        served += entry.get("channels", {}).values()
    documents = (files.read_json(layout.document(release)) or {} for release in served)
    return next((str(document["project"]) for document in documents if document.get("project")), "")


def write(layout: Layout, state: State) -> None:
    files.write_json(layout.state, state.as_dict(), 0o644)


def entry_name(sequence: int) -> str:
    """What a transaction's file in the history is called."""
    return f"{sequence:08d}.json"


def history(layout: Layout) -> List[HistoryEntry]:
    """What was committed, oldest first, and the steps that a keeper has noted since."""
    entries = _kept(layout)
    before, known = committed(layout), {entry.get("sequence") for entry in entries}
    for after, begun in stepped.taken(layout, before):
        if after.sequence not in known:  # they are being written down just now
            entries.append(entry_of(before, after, begun))
        before = after
    return entries


def _kept(layout: Layout) -> List[HistoryEntry]:
    try:
        names = sorted(name for name in os.listdir(layout.history) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    entries = [files.read_json(os.path.join(layout.history, name)) for name in names]
    return [entry for entry in entries if entry is not None]


def entry_of(
    before: State,
    after: State,
    begin: Begun,
    journal: Optional[Begin] = None,
    ran: Optional[Dict[str, str]] = None,
) -> HistoryEntry:
    """What the history says of a transaction.

    Args:
        journal: its first line, where it has one.
        ran: what became of commands that ran once.
    """
    entry: HistoryEntry = {
        "sequence": after.sequence,
        "kind": begin["kind"],
        "who": begin["who"],
        "time": int(begin["time"]),
        "transaction": begin["transaction"],
        "channels": dict(after.channels),
        "outcome": COMMITTED,
        "project": after.project,
    }
    if before.project != after.project and before.project:
        entry["taken_from"] = before.project
    if journal and journal.get("taken"):
        entry["took_over"] = [each["name"] for each in journal["taken"]]
    if ran:
        entry["once"] = ran
    if begin.get("evidence"):
        entry["evidence"] = begin["evidence"]
    if begin.get("images"):
        entry["images"] = begin["images"]
    if begin.get("bench"):
        entry["bench"] = begin["bench"]
    if begin.get("services"):
        entry["services"] = begin["services"]
    if after.shares != before.shares:
        entry["shares"] = dict(after.shares)
    if after.rollout and after.rollout != before.rollout:
        entry["rollout"] = rollout.note(after.rollout, begin.get("findings", []))
    return entry


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
