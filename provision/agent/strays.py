"""Processes of ours that their supervisor does not know: it was killed while they ran on, or they escaped from it.

Two things tell whose a process is. Supervisors set variables that name the program, children inherit them, and nobody
changes those of another's process; but any account can start a process of its own with the same ones, so a process
counts only if it belongs to the account that the program runs as. And what was proven is written down, pid and start
time, in a folder that we alone may write: for those that overwrite their environment, as Redis and nginx do.
"""

from __future__ import annotations

import os
from typing import Dict, Iterable, List, Set, Tuple

from ..contract.layout import Layout
from . import files, guard, processes, trust
from .booted import boot_id


def remember(layout: Layout, running: Dict[str, int], releases: Dict[str, str]) -> None:
    """Write down the process of each program, and the release that it was started from."""
    started = {program: [pid, processes.start_time(pid)] for program, pid in running.items() if pid}
    record = {"boot": boot_id(), "programs": started, "releases": {name: releases[name] for name in started}}
    try:
        files.write_json(_record(layout), record, 0o600)
    except OSError:
        pass  # a full disk: it is of use only where the other mark is gone as well


def remembered(layout: Layout) -> Dict[str, int]:
    """The process of each program that still is the one that was written down."""
    return {program: pid for program, (pid, began) in _noted(layout).items() if processes.lives(pid, began)}


def proven(layout: Layout) -> Dict[str, int]:
    """The process of each program that was written down, whether or not it is there still; none of before a reboot."""
    return {program: pid for program, (pid, _) in _noted(layout).items()}


def _noted(layout: Layout) -> Dict[str, Tuple[int, int]]:
    """Program -> pid and start time."""
    record = guard.note(layout, _record(layout))
    noted = record.get("programs")
    if record.get("boot") != boot_id() or not isinstance(noted, dict):
        return {}
    found = {}
    for program, value in noted.items():
        pid, began = value if isinstance(value, list) and len(value) == 2 else (0, 0)
        if isinstance(pid, int) and isinstance(began, int) and pid > 1:
            found[program] = pid, began
    return found


def releases(layout: Layout, same: Iterable[str]) -> Dict[str, str]:
    """The release of each program's process, of those that still are the ones `remembered`."""
    noted = guard.note(layout, _record(layout)).get("releases")
    return {name: str(noted[name]) for name in same if name in noted} if isinstance(noted, dict) else {}


def owners(layout: Layout, program: str) -> Set[int]:
    """The uids that a program runs as: its launch folders belong to them. In a folder that can't be trusted: ours."""
    base = layout.launchers(program)
    if guard.top(layout) or trust.fault(base):
        return {os.geteuid()}
    try:
        found = {entry.stat().st_uid for entry in os.scandir(base) if entry.is_dir(follow_symlinks=False)}
    except OSError:
        found = set()
    return found or {os.geteuid()}


def marked(common: bytes, marks: Dict[str, Set[bytes]]) -> Dict[str, Set[int]]:
    """The processes whose environment has all variables of a program's mark (`NAME=value`).

    Args:
        common: a variable that all of them have besides.
    """
    found: Dict[str, Set[int]] = {program: set() for program in marks}
    having: Dict[bytes, List[str]] = {}
    for program, mark in marks.items():
        having.setdefault(min(mark), []).append(program)
    for pid, environ in processes.environs():
        variables = set(environ.split(b"\0")) if common in environ else set()
        for variable in variables & having.keys() if common in variables else ():
            for program in having[variable]:
                if marks[program] <= variables:
                    found[program].add(pid)
    return found


def _record(layout: Layout) -> str:
    return os.path.join(layout.private, "processes.json")
