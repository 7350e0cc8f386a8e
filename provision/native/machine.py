"""How many compilers this machine can really run at once.

Cores: the affinity mask, cut by the cgroup's CPU quota (a container with `--cpus 2` on 64 cores sees 64).
Memory: what the kernel calls available, cut by what the cgroup still allows; a compiler that swaps or is killed
is slower than one that waits its turn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

# The largest translation units of llama.cpp take 1.1-1.4 GiB with gcc 12 at -O3.
MEMORY_PER_COMPILER = 3 * 2**30 // 2

_CGROUPS = Path("/sys/fs/cgroup")


def jobs() -> int:
    """Compilers to run at once: at least one, whatever is short."""
    return max(1, min(usable_cores(), available_memory() // MEMORY_PER_COMPILER))


def usable_cores(cgroups: Path = _CGROUPS, membership: str | None = None) -> int:
    """Whole cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _own_cgroups("cpu", cgroups, membership):
        quota = _cpu_quota(folder)
        if quota is not None:
            cores = min(cores, max(1, int(quota)))
    return cores


def available_memory(cgroups: Path = _CGROUPS, membership: str | None = None) -> int:
    """Bytes that can be allocated before something has to give."""
    available = int(psutil.virtual_memory().available)
    for folder in _own_cgroups("memory", cgroups, membership):
        for limit_file, usage_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, usage = _number(folder / limit_file), _number(folder / usage_file)
            if limit is not None and usage is not None:
                # The page cache counts as usage and is given back on demand.
                available = min(available, max(0, limit - usage + _reclaimable(folder)))
    return available


def _own_cgroups(controller: str, cgroups: Path, membership: str | None) -> Iterator[Path]:
    """This process's cgroup and its ancestors: a limit on any of them binds. cgroups(7), /proc/[pid]/cgroup."""
    own = Path("/proc/self/cgroup")
    text = membership if membership is not None else own.read_text() if own.exists() else ""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controller if controllers else cgroups
        # In a container the path may name a folder of the host's hierarchy; the mount itself is then ours.
        own = root / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root) and folder.is_dir())


def _cpu_quota(folder: Path) -> float | None:
    if (v2 := folder / "cpu.max").is_file():
        quota, period = v2.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    v1_quota, v1_period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    if v1_quota is None or v1_period is None or v1_quota < 0:
        return None
    return v1_quota / v1_period


def _reclaimable(folder: Path) -> int:
    try:
        fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return 0
    return int(fields.get("inactive_file", 0)) + int(fields.get("active_file", 0))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # absent, or "max"
        return None
