"""How this process is fenced in: seccomp, no_new_privs, user, capabilities, namespaces.

proc_pid_status(5) for the fields of `/proc/self/status`, namespaces(7) for `/proc/self/ns`. A namespace is compared
with that of PID 1, which only root may read; where it cannot be read, nothing is claimed.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

_SECCOMP = {"0": "off", "1": "strict", "2": "filter"}
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


@dataclass(frozen=True)
class Sandbox:
    """The fences.

    Attributes:
        seccomp: `off`, `strict`, `filter` or `unknown`.
        no_new_privs: whether setuid programs gain nothing, None where the kernel does not say.
        uid: the effective user id.
        capabilities: the effective set, as a hexadecimal mask.
        namespaces: those of this process, by kind, as the kernel identifies them.
        unshared: kinds that differ from PID 1's, None where that may not be read.
        pid_depth: how many PID namespaces this process is in; more than 1 is a container.
    """

    seccomp: str
    no_new_privs: bool | None
    uid: int
    capabilities: str
    namespaces: dict[str, str]
    unshared: list[str] | None
    pid_depth: int

    def as_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        return asdict(self)


def read_sandbox(root: Path = Path("/")) -> Sandbox:
    """The fences around this process."""
    status = _status(root)
    own, first = _namespaces(root / "proc/self/ns"), _namespaces(root / "proc/1/ns")
    return Sandbox(
        seccomp=_SECCOMP.get(status.get("Seccomp", ""), "unknown"),
        no_new_privs={"0": False, "1": True}.get(status.get("NoNewPrivs", "")),
        uid=os.geteuid(),
        capabilities=status.get("CapEff", ""),
        namespaces=own,
        unshared=[kind for kind in own if own[kind] != first.get(kind)] if first else None,
        pid_depth=len(status.get("NSpid", "1").split()),
    )


def _status(root: Path) -> dict[str, str]:
    try:
        lines = (root / "proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _namespaces(folder: Path) -> dict[str, str]:
    found = {}
    for kind in _NAMESPACES:
        try:
            found[kind] = str((folder / kind).readlink())
        except OSError:
            continue
    return found
