"""How often programs were started again of late, by nobody who deployed.

Nothing has to run for that. Launchers note when they start (`launch.starts`), an engine remembers the events of its
containers, and the last transaction wrote down which process it proved: what was started after that one is a restart.
Where no start is noted, as of what an earlier version launched, a process that was never proven tells of one.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Dict, List, Optional

from ..contract.layout import Layout
from ..contract.state import State
from . import launch, processes, strays
from .supervisors import Activity, Supervisor

if TYPE_CHECKING:
    from ..contract.facts import Restarted
    from ..contract.host_view import HostView

WINDOW_SECONDS = 600.0


def of_late(layout: Layout, supervisor: Supervisor, state: State, view: HostView) -> Dict[str, Restarted]:
    """By program, how often it was started again within the window, and when last; of those on demand nothing."""
    programs = [name for name, program in state.programs.items() if not program.on_demand]
    if not programs:
        return {}
    proven = strays.proven(layout)
    now, since_boot = time.time(), processes.age(1)
    told = supervisor.restarts({name: view.programs[name]["restarts"] for name in programs}, WINDOW_SECONDS)
    found: Dict[str, Restarted] = {}
    for name in programs:
        seen, was = view.programs[name], proven.get(name)
        folder = os.path.join(layout.launchers(name), view.launches.get(name, ""))
        ago = told.get(name) or _noted(launch.starts(folder), now, since_boot, was)
        runs = seen["activity"] == Activity.RUNNING.value and seen["pid"]
        if not ago and runs and was not in (None, seen["pid"]):
            ago = [processes.age(seen["pid"])]
        late = [each for each in ago if each <= WINDOW_SECONDS]
        if late:
            found[name] = {"times": len(late), "ago": round(min(late), 1)}
    return found


def _noted(starts: List[str], now: float, since_boot: float, proven: Optional[int]) -> List[float]:
    """How many seconds ago each restart was, newest first.

    Args:
        starts: as the launcher noted them.
        since_boot: seconds since the first process started, which in a container is younger than the kernel.
        proven: the process that the last transaction proved since then; None where there was none.
    """
    found: List[float] = []
    for word in starts:
        at, _, pid = word.partition(":")
        ago = now - int(at) if at.isdigit() else -1.0
        if pid == str(proven) or not 0 <= ago <= since_boot:
            break
        found.append(ago)
    return found[:-1] if proven is None else found  # what starts with the host is no restart
