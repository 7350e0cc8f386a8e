"""The control groups that this process is in, v1 and v2.

cgroups(7), "/proc files": `/proc/self/cgroup` has one line a hierarchy, `ID:CONTROLLERS:PATH`, where v2 is `0::PATH`.
PATH is relative to the root of the hierarchy, and field 4 of `/proc/self/mountinfo` says which part of it a mount
shows. A limit of any ancestor binds too, so all directories from the own group up to the mount are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Group:
    """One directory of a hierarchy; `version` decides which files it has."""

    path: Path
    version: int

    def text(self, name: str) -> str:
        """The content of a file of this group, empty if it has none."""
        try:
            return (self.path / name).read_text().strip()
        except OSError:
            return ""

    def number(self, name: str) -> int | None:
        """The content as a number; `max`, a missing file and anything else is None."""
        text = self.text(name)
        return int(text) if text.lstrip("-").isdigit() else None

    def stat(self, name: str, key: str) -> int:
        """One value of a file of `KEY VALUE` lines, 0 if it is not there."""
        for line in self.text(name).splitlines():
            words = line.split()
            if len(words) == 2 and words[0] == key and words[1].isdigit():
                return int(words[1])
        return 0


def groups(controller: str, root: Path = Path("/")) -> list[Group]:
    """The groups that bound `controller` for this process, its own first. Empty where there are no control groups."""
    own = _own_paths(root)
    found: list[Group] = []
    for version, mount_root, mount_point, controllers in _mounts(root):
        named = controller if version == 1 else ""
        if named not in own or (version == 1 and controller not in controllers):
            continue
        top = root / mount_point.lstrip("/")
        inside = _inside(own[named], mount_root)
        found.extend(Group(top.joinpath(*inside.parts[:depth]), version) for depth in range(len(inside.parts), -1, -1))
    return [group for group in found if group.path.is_dir()]


def _own_paths(root: Path) -> dict[str, str]:
    """Controller name to the path of the group in its hierarchy; v2 has the empty name."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    paths = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _mounts(root: Path) -> list[tuple[int, str, str, frozenset[str]]]:
    """`(version, root within the hierarchy, mount point, controllers)` of each mounted hierarchy."""
    try:
        lines = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        if kind in ("cgroup", "cgroup2"):
            fields = before.split()
            controllers = frozenset(options.rpartition(" ")[2].split(","))
            mounts.append((2 if kind == "cgroup2" else 1, fields[3], fields[4], controllers))
    return mounts


def _inside(path: str, mount_root: str) -> PurePosixPath:
    """`path` as seen below the mount. A group outside what the mount shows leaves only the mount itself."""
    try:
        relative = PurePosixPath(path).relative_to(mount_root)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in relative.parts else relative
