"""Who else uses a host's cores and GPUs meanwhile, as the kernel and the driver tell (proc(5), nvidia-smi).

The kernel's own count says how much of the cores was used in all, so nobody is overlooked who is in a container of
somebody else's; processes that are seen from here are named.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Callable, Dict, List, Set, Tuple

from . import gpus, processes

if TYPE_CHECKING:
    from typing import Iterable

_LITTLE = 0.05  # of all cores: what a machine does that has nothing to do
_NAMED = 5


def beside(ours: Callable[[], Set[int]]) -> Callable[[], List[str]]:
    """Look from now on; called, what was returned says who used cores or GPUs besides `ours` and this program."""
    began, before, spent = time.monotonic(), _busy(), _spent(processes.pids())

    def said() -> List[str]:
        mine = ours() | {os.getpid()}
        now = _spent(processes.pids())
        used = {pid: ticks - spent.get((pid, start), 0) for (pid, start), ticks in now.items()}
        second = os.sysconf("SC_CLK_TCK") * max(time.monotonic() - began, 1e-6)
        others = (_busy() - before - sum(used.get(pid, 0) for pid in mine)) / second
        return [*_cores(others, {pid: ticks / second for pid, ticks in used.items() if pid not in mine}), *_gpus(mine)]

    return said


def _cores(others: float, used: Dict[int, float]) -> List[str]:
    cores = os.cpu_count() or 1
    if others <= max(_LITTLE * cores, 0.1):
        return []
    most = sorted(used, key=lambda pid: -used[pid])[:_NAMED]
    named = ", ".join(f"{_name(pid)} ({used[pid]:.1f})" for pid in most if used[pid] >= _LITTLE)
    return [f"others used {others:.1f} of {cores} cores" + (f": {named}" if named else "")]


def _name(pid: int) -> str:
    """What the kernel calls it: its arguments are its owner's, and this is written down."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return "".join(char if char.isprintable() else " " for char in stream.read(16).strip())
    except OSError:
        return "a process that ended"


def _busy() -> int:
    """Ticks in which any core worked, or waited for a hypervisor that gave it to another (`steal`)."""
    with open("/proc/stat", encoding="ascii") as stream:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stream.readline().split()[1:9])
    return user + nice + system + irq + softirq + steal


def _spent(pids: Iterable[int]) -> Dict[Tuple[int, int], int]:
    """Of each process, with its start, the ticks that it has used."""
    found = ((pid, processes.start_time(pid), processes.ticks(pid)) for pid in pids)
    return {(pid, start): ticks for pid, start, ticks in found if start}


def _gpus(mine: Set[int]) -> List[str]:
    """Processes with memory on a GPU of ours; where none of ours is seen there, on any."""
    on: Dict[str, Set[int]] = {}
    for line in gpus.processes():
        uuid, _, pid = line.partition(",")
        if pid.strip().isdigit():
            on.setdefault(uuid.strip(), set()).add(int(pid))
    ours = [uuid for uuid, pids in on.items() if pids & mine] or list(on)
    others = sorted({pid for uuid in ours for pid in on[uuid]} - mine)
    return [f"{_name(pid)} (pid {pid}) was on the GPU" for pid in others[:_NAMED]]
