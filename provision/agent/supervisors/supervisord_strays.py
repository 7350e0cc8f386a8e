"""Processes by a supervisord: its own, and those of its programs that it does not know."""

from __future__ import annotations

import os
from typing import Dict, Set

from ...contract.layout import Layout
from .. import processes, strays
from .base import Observed
from .supervisord_config import Instance


def keeper(instance: Instance) -> int:
    """The pid of the supervisord that runs, or ran last, with this configuration; 0 where that is not known."""
    try:
        with open(instance.pidfile, encoding="ascii") as stream:
            pid = int(stream.read())
    except (OSError, ValueError):
        return 0
    words = processes.command(pid)
    named = [word for word in words if word.endswith(".conf")] or [instance.config]
    if words and not (any("supervisord" in word for word in words) and instance.config in named):
        return 0  # the number is another's by now
    return pid


def strays_of(
    layout: Layout,
    instance: Instance,
    seen: Dict[str, Observed],
    accounts: Dict[str, Set[int]],
    known: processes.Table,
) -> Dict[str, Set[int]]:
    """The processes of each program that was looked at which this supervisord does not know.

    Args:
        accounts: further uids that a program may run as.
    """
    url = os.fsencode(f"SUPERVISOR_SERVER_URL=unix://{instance.socket}")
    marks = {
        name: {os.fsencode(f"SUPERVISOR_PROCESS_NAME={name}"), os.fsencode(f"SUPERVISOR_GROUP_NAME={name}")}
        for name in seen
    }
    found = strays.marked(url, marks)
    written = strays.remembered(layout)
    # Neither we nor supervisord are strays, whatever terminal one of us was started from.
    others = known.without(known.ancestors(os.getpid()) | known.ancestors(keeper(instance)))
    for name, pids in found.items():
        if not pids and name not in written:
            continue
        owners = strays.owners(layout, name) | accounts.get(name, set())
        ours = {pid for pid in pids if processes.accounts(pid) <= owners}
        if name in written:
            ours.add(written[name])
        main = others.family([seen[name].pid]) if seen[name].pid else set()
        found[name] = others.family(ours) - main
    return found
