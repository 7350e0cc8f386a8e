"""Cgroups of a host: a directory of its own in each hierarchy that is ours to divide.

A version 1 hierarchy in which this process was already put below the root belongs to whoever put it there (a
container engine, a session manager): dividing it could upset their accounting, so such a controller is left out.
In a pure version 2 layout the directory is made at the root, as container engines do.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.problems import TestBedProblem

_REMOVE_SECONDS = 20  # a killed process leaves its cgroup after it is gone from /proc, on a busy machine late


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup tree: where, which type, and for version 1 which controllers."""

    mount: Path
    type: str
    controllers: tuple[str, ...]

    def mount_argument(self) -> str:
        """How boot.sh is told to mount it inside a host."""
        directory = "." if self.mount == Path("/sys/fs/cgroup") else self.mount.name
        return f"{self.type}:{','.join(self.controllers)}:{directory}"


def hierarchies() -> list[Hierarchy]:
    """The hierarchies hosts can have a part of."""
    own = dict(_own_cgroups())
    return [h for h in _mounted() if h.type == "cgroup2" or own.get(frozenset(h.controllers)) == "/"]


def controllers_table() -> str:
    """/proc/cgroups as a host may see it: only the version 1 controllers that it gets a part of."""
    header, *rows = Path("/proc/cgroups").read_text().splitlines(keepends=True)
    usable = {name for hierarchy in hierarchies() for name in hierarchy.controllers}
    return "".join([header, *(row for row in rows if row.split()[0] in usable)])


def make_cgroups(name: str, *, every: bool = False) -> list[Path]:
    """A directory `name` in each usable hierarchy, ready to take processes; or in every one, as a kubelet wants it."""
    made = []
    for hierarchy in _mounted() if every else hierarchies():
        directory = hierarchy.mount / name
        directory.mkdir(exist_ok=True)
        if "cpuset" in hierarchy.controllers:  # version 1 starts with an empty set, which takes no process
            for file in ("cpuset.cpus", "cpuset.mems"):
                (directory / file).write_text((hierarchy.mount / file).read_text())
        made.append(directory)
    return made


def run_after_all_others(name: str) -> None:
    """Let what is in `name` run only while nothing else wants a processor, as if it had others of its own.

    Raises:
        TestBedProblem: no hierarchy of processors is ours to divide, or the kernel (below 5.15) can't.
    """
    found = [file for hierarchy in hierarchies() if (file := hierarchy.mount / name / "cpu.idle").exists()]
    if not found:
        raise TestBedProblem(f"{name} can't be kept off the processors that others want", "use a newer kernel")
    for file in found:
        file.write_text("1")


def remove_cgroups(name: str) -> None:
    """Remove what `make_cgroups` made, and what a systemd inside or a Docker Engine has added, wherever that is."""
    for hierarchy in _mounted():
        _thaw(hierarchy.mount / name)
    deadline = time.monotonic() + _REMOVE_SECONDS
    for hierarchy in _mounted():
        top = hierarchy.mount / name
        while top.is_dir():
            try:
                for directory in sorted(top.rglob("*/"), reverse=True):
                    directory.rmdir()
                top.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def _thaw(top: Path) -> None:
    """Let what a test has paused, and was killed before it let it go on, end: who is frozen is not killed."""
    for file, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        for path in top.rglob(file):
            with contextlib.suppress(OSError):  # it goes meanwhile
                path.write_text(word)


def _mounted() -> Iterator[Hierarchy]:
    """/proc/self/mountinfo, proc(5): mount point is field 5; type and super options follow the lone dash."""
    known = {line.split()[0] for line in Path("/proc/cgroups").read_text().splitlines()[1:]}
    seen = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        type_, _, options = right.split(" ")
        if type_ not in ("cgroup", "cgroup2"):
            continue
        controllers = tuple(o for o in options.split(",") if o in known or o.startswith("name="))
        if (type_, controllers) not in seen:
            seen.add((type_, controllers))
            yield Hierarchy(Path(left.split(" ")[4]), type_, controllers if type_ == "cgroup" else ())


def _own_cgroups() -> Iterator[tuple[frozenset[str], str]]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        yield frozenset(controllers.split(",")), path
