"""What a host has committed to: channels, programs, generation. One file, replaced in one step."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Dict, List, Optional

from . import files, protocol
from .layout import Layout


@dataclass(frozen=True)
class Program:
    """One copy of a service under the supervisor."""

    service: str
    lane: str
    release: str  # from which it was started; older than the channel's where it did not change
    launch: str  # name of its launch folder
    fingerprint: str
    on_demand: bool = False
    manifest: str = ""  # file name
    manifest_sha256: str = ""
    secrets: Dict[str, str] = field(default_factory=dict)  # name -> version


@dataclass(frozen=True)
class State:
    """One project on one host."""

    generation: int = 0
    sequence: int = 0
    platform: str = ""
    channels: Dict[str, str] = field(default_factory=dict)  # name -> release
    programs: Dict[str, Program] = field(default_factory=dict)
    secrets: Dict[str, str] = field(default_factory=dict)  # name -> current version
    version: str = ""  # of the toolkit that wrote it
    project: str = ""  # whose folder it is

    def as_dict(self) -> Dict[str, Any]:
        return dict(asdict(self), format=protocol.FORMAT)


def from_dict(value: Dict[str, Any], where: str = "the state") -> State:
    """The state that `where` holds.

    Raises:
        AgentError: it has a format that this version does not read.
    """
    protocol.check_format(value, where)
    keys = ("generation", "sequence", "platform", "channels", "secrets", "version", "project")
    known = {key: value[key] for key in keys if key in value}
    programs = {name: Program(**program) for name, program in value.get("programs", {}).items()}
    return State(programs=programs, **known)


def read(layout: Layout) -> State:
    """The committed state; an empty one where nothing was ever deployed.

    Versions that did not write down whose it is, wrote that into each release.
    """
    value = files.read_json(layout.state)
    if value is None:
        return State()
    state = from_dict(value, layout.state)
    return state if state.project else replace(state, project=_project(layout, state))


def _project(layout: Layout, state: State) -> str:
    served = [*state.channels.values(), *(program.release for program in state.programs.values())]
    for entry in [] if served else reversed(history(layout)):
        served += entry.get("channels", {}).values()
    documents = (files.read_json(layout.document(release)) or {} for release in served)
    return next((str(document["project"]) for document in documents if document.get("project")), "")


def write(layout: Layout, state: State) -> None:
    files.write_json(layout.state, state.as_dict(), 0o644)


def advance(before: State, **changes: Any) -> State:
    """The state that follows `before`."""
    return replace(before, generation=before.generation + 1, sequence=before.sequence + 1, **changes)


def history(layout: Layout) -> List[Dict[str, Any]]:
    """Committed transactions, oldest first."""

    try:
        names = sorted(name for name in os.listdir(layout.history) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    entries = [files.read_json(os.path.join(layout.history, name)) for name in names]
    return [entry for entry in entries if entry is not None]


def way_back(layout: Layout, state: State, entries: List[Dict[str, Any]]) -> Optional[str]:
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


def previous(entries: List[Dict[str, Any]], current: Optional[str], channel: str = "stable") -> Optional[str]:
    """The release that `channel` had before `current`: what a rollback without an argument means.

    A rollback is history too; so after one the answer is the release before the one rolled back to, never the one
    that was just left. What another project did here before this one took over is no way back.
    """
    line: List[str] = []  # the releases one could walk back through, oldest first
    for entry in entries:
        release = entry.get("channels", {}).get(channel)
        if entry.get("taken_from"):
            line.clear()
        if not release or (line and line[-1] == release):
            continue
        if entry.get("kind") == "rollback" and release in line:
            del line[line.index(release) + 1 :]
        else:
            line.append(release)
    if line and line[-1] == current:
        line.pop()
    return line[-1] if line else None
