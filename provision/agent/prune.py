"""Removes what nothing can need any more: never a rollback target, nor what a process uses."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, List

from ..contract.layout import Layout
from ..contract.state import State
from . import content, evidence, files, launch, processes
from . import state as states
from .documents import read_documents
from .folders import host_folder
from .locks import Lock

if TYPE_CHECKING:
    from .supervisors import Supervisor

_INCOMING_SECONDS = 24 * 3600.0  # an upload that was cut is kept this long, to be resumed
_AGENT_SECONDS = 24 * 3600.0  # an older agent may still be reading its modules
_TRANSACTIONS_KEPT = 20
_HISTORY_KEPT = 500


def prune(layout: Layout, keep: int, agent: str, supervisor: Supervisor) -> List[str]:
    """Remove old releases, models, agents and launch folders; the names of the releases that went.

    A deploy that failed makes nothing old: what it brought is kept for the next one.

    Args:
        keep: how many releases of the stable history stay, besides those in use.
        agent: digest of the running agent.
    """
    there = read_documents(layout, content.releases(layout))
    gone = content.over(layout, keep, supervisor)
    served = content.served(layout)
    for name in os.listdir(layout.releases):
        path = layout.release(name)
        if name.startswith(".trash-"):
            files.remove_tree(os.path.join(layout.releases, name[len(".trash-") :]))
        elif name.startswith(".incoming-"):
            _incoming(layout, name, path)
    for name in gone:
        files.remove_tree(layout.release(name))
    evidence.prune(layout)
    stay = content.of(layout, (document for name, document in there.items() if name not in gone))
    ended = content.of(layout, (document for name, document in there.items() if name in gone and name in served))
    for path in content.everything(layout):
        if path not in stay and (path in ended or content.age(path) > content.UNUSED_SECONDS):
            files.remove_tree(path)
    for path in content.halves(layout):
        if content.age(path) > _INCOMING_SECONDS:
            files.remove_tree(path)  # nobody went on with it
    leftovers(layout)
    for name in os.listdir(layout.agents):
        path = os.path.join(layout.agents, name)
        if name != agent and time.time() - os.stat(path).st_mtime > _AGENT_SECONDS:
            files.remove_tree(path)
            files.remove_tree(os.path.join(host_folder(), "pycache") + path)
    logs = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(layout.transactions))
    for _, path in logs[:-_TRANSACTIONS_KEPT]:
        os.unlink(path)
    _history(layout)
    return gone


def _history(layout: Layout) -> None:
    """Let go of what is long ago; of each release that is still here one entry stays, which says that it served."""
    entries = states.history(layout)
    if len(entries) <= _HISTORY_KEPT:
        return
    here = set(content.releases(layout))
    for entry in entries[-_HISTORY_KEPT:]:
        here -= set(entry["channels"].values())
    for entry in reversed(entries[:-_HISTORY_KEPT]):
        only = here & set(entry["channels"].values())
        here -= only
        if not only:
            files.discard(os.path.join(layout.history, states.entry_name(entry["sequence"])))


def _incoming(layout: Layout, name: str, path: str) -> None:
    claimed = Lock(layout.claim).holder()
    if claimed and claimed.get("nonce") == name[len(".incoming-") :]:
        return
    if time.time() - os.stat(path).st_mtime > _INCOMING_SECONDS:
        files.remove_tree(path)


def leftovers(layout: Layout) -> None:
    """Remove what a killed worker left half made, and launch folders that nothing starts. The caller holds the locks.

    Nothing is removed that the journal of an open transaction may need.
    """
    if os.path.exists(layout.journal):
        return
    files.remove(layout.reserve)
    files.remove(layout.once_secrets)
    for link in (layout.channel("stable"), layout.channel("canary")):
        files.discard(files.temporary_of(link))
    if os.path.isdir(layout.run):
        _launches(layout, states.read_state(layout))
        for program in os.listdir(layout.run):
            files.discard(files.temporary_of(os.path.join(layout.launchers(program), "current")))
    for folder in (layout.private, layout.history, layout.evidence):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.startswith(".") and name.endswith(".new"):
                files.discard(os.path.join(folder, name))


def _launches(layout: Layout, state: State) -> None:
    in_use = processes.working_in(layout.run, 2)
    for name in os.listdir(layout.run):
        base = layout.launchers(name)
        program = state.programs.get(name)
        if program is None:
            files.remove_tree(base)
            continue
        used = {program.launch, launch.current(layout, name), "current"}
        left = [folder for folder in os.listdir(base) if folder not in used and f"{name}/{folder}" not in in_use]
        for path in (os.path.join(base, folder) for folder in left):
            # One that finishes on its old code may read its secrets again.
            if os.path.isdir(path) and not (launch.secret_files(path) and processes.is_told(path)):
                files.remove_tree(path)
