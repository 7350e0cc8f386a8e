"""How many threads are worth starting here, and which instructions the processor has.

llama.cpp's decode spins on barriers: with more threads than cores that are really ours it collapses instead of
slowing down. So the count is that of whole cores within affinity and CPU quota, and hyperthreads count once.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

from bitnet.machine import cgroups


@dataclass(frozen=True)
class Cpu:
    """The processors of this process.

    Attributes:
        architecture: as `uname -m` has it, such as `x86_64`.
        features: instruction sets as the kernel names them, such as `avx2` or `asimddp`.
        logical: CPUs in the affinity mask.
        physical: cores behind those.
        quota: CPUs that the control groups grant, None for no limit.
        model: the processor's name, or empty.
    """

    architecture: str
    features: frozenset[str]
    logical: int
    physical: int
    quota: float | None
    model: str = ""

    @property
    def usable(self) -> int:
        """The most threads that can run at once: a fraction of a CPU in the quota counts for nothing."""
        return max(1, self.logical if self.quota is None else min(self.logical, int(self.quota)))

    @property
    def threads(self) -> int:
        """What `threads="auto"` means."""
        return min(self.physical, self.usable)

    def as_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        return {
            "architecture": self.architecture,
            "model": self.model,
            "features": sorted(self.features),
            "logical": self.logical,
            "physical": self.physical,
            "quota": self.quota,
            "usable": self.usable,
            "threads": self.threads,
        }


def read_cpu(root: Path = Path("/")) -> Cpu:
    """The CPUs that this process may use now; affinity and quota can change while it runs."""
    allowed = _affinity()
    info = _cpuinfo(root)
    return Cpu(
        architecture=platform.machine().lower(),
        features=frozenset((info.get("flags") or info.get("Features") or "").split()),
        logical=len(allowed),
        physical=_cores(allowed, root),
        quota=_quota(root),
        model=info.get("model name", ""),
    )


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(psutil.cpu_count() or 1))  # pragma: no cover - macOS has no affinity


def _cpuinfo(root: Path) -> dict[str, str]:
    """The keys of the first processor of `/proc/cpuinfo`."""
    try:
        text = (root / "proc/cpuinfo").read_text()
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0]
    return {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines()) if value
    }


def _cores(allowed: frozenset[int], root: Path) -> int:
    """Distinct cores behind the allowed CPUs: hyperthreads name the same siblings."""
    cores = set()
    for cpu in allowed:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        try:
            cores.add(topology.read_text().strip())
        except OSError:
            cores.add(f"cpu{cpu}")
    return len(cores)


def _quota(root: Path) -> float | None:
    """The smallest quota of the own control group and its ancestors, in CPUs."""
    quotas = []
    for group in cgroups.groups("cpu", root):
        if group.version == 2:
            limit, _, period = group.text("cpu.max").partition(" ")
            if limit.isdigit() and period.isdigit():
                quotas.append(int(limit) / int(period))
        else:
            runtime, length = group.number("cpu.cfs_quota_us"), group.number("cpu.cfs_period_us")
            if runtime is not None and runtime > 0 and length:
                quotas.append(runtime / length)
    return min(quotas, default=None)
