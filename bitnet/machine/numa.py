"""NUMA nodes: which CPUs and how much memory sit together. `/sys/devices/system/node` of the kernel."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Node:
    """One node; memory in bytes."""

    index: int
    cpus: str  # as the kernel lists them: `0-7,16-23`
    memory_total: int
    memory_free: int

    def as_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        return asdict(self)


def read_nodes(root: Path = Path("/")) -> list[Node]:
    """The nodes with CPUs or memory, by index. Empty where the kernel tells of none."""
    folder = root / "sys/devices/system/node"
    nodes = []
    for path in sorted(folder.glob("node[0-9]*"), key=lambda path: int(path.name.removeprefix("node"))):
        memory = _kibibytes(path / "meminfo")
        nodes.append(
            Node(
                index=int(path.name.removeprefix("node")),
                cpus=(path / "cpulist").read_text().strip(),
                memory_total=memory.get("MemTotal", 0) * 1024,
                memory_free=memory.get("MemFree", 0) * 1024,
            )
        )
    return nodes


def _kibibytes(path: Path) -> dict[str, int]:
    """`Node 0 MemTotal:  16 kB` lines by their key."""
    lines = re.findall(r"^Node \d+ (\w+): *(\d+) kB$", path.read_text(), re.MULTILINE)
    return {key: int(value) for key, value in lines}
