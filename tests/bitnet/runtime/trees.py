"""Pieces of /proc and /sys as folders, to read what other machines would say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def tree(root: Path, files: Mapping[str, str]) -> Path:
    """Files below `root` by their path."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 23 0:29 / /proc rw - proc proc rw\n"
)


def v2(root: Path, path: str, files: Mapping[str, str]) -> Path:
    """A host with unified control groups; `files` are below /sys/fs/cgroup."""
    base = {"proc/self/cgroup": f"0::{path}\n", "proc/self/mountinfo": V2_MOUNT}
    return tree(root, {**base, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}})


def v1(root: Path, path: str, files: Mapping[str, str]) -> Path:
    """A host with a hierarchy for each controller."""
    base = {"proc/self/cgroup": f"4:memory:{path}\n2:cpu,cpuacct:{path}\n0::/\n", "proc/self/mountinfo": V1_MOUNTS}
    return tree(root, {**base, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}})
