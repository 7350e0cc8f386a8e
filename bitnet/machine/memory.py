"""How much memory this process may use: the machine's, or less where a control group says so.

Page cache is not counted as used, neither of the machine (`MemAvailable`) nor of the group (its inactive file pages):
the kernel gives it back, and a model that was just copied would look like a full machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from bitnet.machine import cgroups

_NO_LIMIT = 1 << 60  # v1 writes "no limit" as the largest page-aligned number


@dataclass(frozen=True)
class Memory:
    """In bytes.

    Attributes:
        total: the most there can be: the machine's memory, or the smallest limit of a control group.
        available: what of it is free now.
        limit: the control groups' limit, None for none.
    """

    total: int
    available: int
    limit: int | None

    def as_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        return {"total_bytes": self.total, "available_bytes": self.available, "cgroup_limit_bytes": self.limit}


def read_memory(root: Path = Path("/")) -> Memory:
    """What this process may use now."""
    machine = psutil.virtual_memory()
    total, available, limit = machine.total, machine.available, None
    for group in cgroups.groups("memory", root):
        v2 = group.version == 2
        bound = group.number("memory.max" if v2 else "memory.limit_in_bytes")
        if bound is None or bound >= _NO_LIMIT:
            continue
        used = group.number("memory.current" if v2 else "memory.usage_in_bytes") or 0
        cache = group.stat("memory.stat", "inactive_file" if v2 else "total_inactive_file")
        limit = bound if limit is None else min(limit, bound)
        available = min(available, max(0, bound - max(0, used - cache)))
    return Memory(total=total if limit is None else min(total, limit), available=available, limit=limit)
