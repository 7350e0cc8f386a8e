"""Removes what nothing can need any more: never a rollback target, nor what a process uses."""

from __future__ import annotations

import os
import re
import time
from typing import Any, Dict, List, Set

from . import files, launch, processes
from . import state as states
from .documents import read_documents
from .layout import Layout, host_folder
from .locks import Lock

_INCOMING_SECONDS = 24 * 3600.0  # an upload that was cut is kept this long, to be resumed
_AGENT_SECONDS = 24 * 3600.0  # an older agent may still be reading its modules
_TRANSACTIONS_KEPT = 20
_RELEASE = re.compile(r"[0-9a-f]{64}")


def prune(layout: Layout, keep: int, agent: str) -> List[str]:
    """Remove old releases, models, agents and launch folders; the names of the releases that went.

    Args:
        keep: how many releases of the stable history stay, besides those in use.
        agent: digest of the running agent.
    """
    state = states.read(layout)
    needed = _releases_needed(layout, state, keep)
    gone = []
    for name in os.listdir(layout.releases):
        path = layout.release(name)
        if name.startswith(".trash-"):
            files.remove_tree(os.path.join(layout.releases, name[len(".trash-") :]))
        elif name.startswith(".incoming-"):
            _incoming(layout, name, path)
        elif _RELEASE.fullmatch(name) and name not in needed:
            files.remove_tree(path)
            gone.append(name)
    _content(layout, read_documents(layout, needed))
    leftovers(layout)
    for name in os.listdir(layout.agents):
        path = os.path.join(layout.agents, name)
        if name != agent and time.time() - os.stat(path).st_mtime > _AGENT_SECONDS:
            files.remove_tree(path)
            files.remove_tree(os.path.join(host_folder(), "pycache") + path)
    logs = sorted(os.listdir(layout.transactions))
    for name in logs[:-_TRANSACTIONS_KEPT]:
        os.unlink(os.path.join(layout.transactions, name))
    return sorted(gone)


def _releases_needed(layout: Layout, state: states.State, keep: int) -> Set[str]:
    needed = set(state.channels.values()) | {program.release for program in state.programs.values()}
    needed |= processes.working_in(layout.releases)
    stable: List[str] = []
    for entry in reversed(states.history(layout)):
        release = entry.get("channels", {}).get("stable")
        if release and release not in stable:
            stable.append(release)
    back = states.previous(states.history(layout), state.channels.get("stable"))
    return needed | set(stable[:keep]) | ({back} if back else set())


def _incoming(layout: Layout, name: str, path: str) -> None:
    claimed = Lock(layout.claim).holder()
    if claimed and claimed.get("nonce") == name[len(".incoming-") :]:
        return
    if time.time() - os.stat(path).st_mtime > _INCOMING_SECONDS:
        files.remove_tree(path)


def _content(layout: Layout, documents: Dict[str, Dict[str, Any]]) -> None:
    wanted = {model["sha256"] for document in documents.values() for model in document["models"].values()}
    for name in os.listdir(layout.models):
        if name.startswith("sha256-") and name[len("sha256-") :] not in wanted:
            files.remove_tree(os.path.join(layout.models, name))
    served = {engine for document in documents.values() for engine in document.get("engines", {})}
    for name in os.listdir(layout.engines) if os.path.isdir(layout.engines) else ():
        if not name.startswith(".") and name not in served:
            files.remove_tree(os.path.join(layout.engines, name))
    for folder in (layout.models, layout.engines):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name)
            if name.startswith(".") and time.time() - os.stat(path).st_mtime > _INCOMING_SECONDS:
                files.remove_tree(path)  # an upload that nobody went on with
    prepared = {document["prepared"] for document in documents.values() if document.get("prepared")}
    if os.path.isdir(layout.prepared):
        for name in os.listdir(layout.prepared):
            if name not in prepared:
                files.remove_tree(os.path.join(layout.prepared, name))


def leftovers(layout: Layout) -> None:
    """Remove what a killed worker left half made, and launch folders that nothing starts. The caller holds the locks.

    Nothing is removed that the journal of an open transaction may need.
    """
    if os.path.exists(layout.journal):
        return
    files.remove(layout.reserve)
    for link in (layout.channel("stable"), layout.channel("canary")):
        files.discard(files.temporary_of(link))
    if os.path.isdir(layout.run):
        _launches(layout, states.read(layout))
        for program in os.listdir(layout.run):
            files.discard(files.temporary_of(os.path.join(layout.launchers(program), "current")))
    for folder in (layout.private, layout.history):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.startswith(".") and name.endswith(".new"):
                files.discard(os.path.join(folder, name))


def _launches(layout: Layout, state: states.State) -> None:
    for name in os.listdir(layout.run):
        base = layout.launchers(name)
        program = state.programs.get(name)
        if program is None:
            files.remove_tree(base)
            continue
        used = {program.launch, launch.current(layout, name), "current"} | processes.working_in(base)
        for path in (os.path.join(base, folder) for folder in os.listdir(base) if folder not in used):
            # One that finishes on its old code may read its secrets again.
            if os.path.isdir(path) and not (launch.secret_files(path) and processes.is_told(os.path.realpath(path))):
                files.remove_tree(path)
