"""Whether a disk has room for what is to be shipped, asked before it is; and what can go where it has not.

`releases` and `shared` may be on file systems of their own, so needs are counted by device.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Callable, Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple

from ..contract import tree
from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import common, content, engines, files, models
from .documents import read_documents
from .preflight import DISK_RESERVE, INODE_RESERVE

if TYPE_CHECKING:
    from ..contract.requests import AheadQuestion
    from .supervisors import Supervisor

_BLOCK = 4096  # bytes: the least that a file takes on most file systems
_UNPACKED = 3  # times the bytes of its wheel: a HAProxy and its libraries, at most


class Need(NamedTuple):
    """What one thing will take."""

    what: str
    folder: str
    bytes: int
    inodes: int = 1


class Shortage(NamedTuple):
    """A file system on which not all needs have room together."""

    where: str
    needs: Sequence[Need]
    bytes_free: int
    inodes_free: int

    @property
    def bytes_needed(self) -> int:
        return sum(need.bytes for need in self.needs)

    @property
    def inodes_needed(self) -> int:
        return sum(need.inodes for need in self.needs)

    def sentence(self) -> str:
        if self.bytes_free < self.bytes_needed:
            parts = ", ".join(f"{need.what} {_mib(need.bytes)}" for need in self.needs if need.bytes)
            return (
                f"{self.bytes_free >> 20} MiB are free under {self.where}; "
                f"{_mib(self.bytes_needed)} MiB are needed ({parts})."
            )
        needed = f"{self.inodes_needed} are needed, one for each file"
        return f"only {self.inodes_free} inodes are free under {self.where}; {needed}."


def needs(layout: Layout, ahead: AheadQuestion, haproxy: str) -> List[Need]:
    """What shipping a release takes, besides what the transaction itself does.

    Args:
        ahead: the release's id, document, and `files` as the toolkit counts them; `entries` where it was asked for
            each file's path, size and time.
        haproxy: sha256 of the wheel of the one that is shipped; empty where none is.
    """
    document = ahead["document"]
    found = [Need("the deploy itself", layout.root, DISK_RESERVE, INODE_RESERVE)]
    if not os.path.isdir(layout.release(ahead["release"])):
        entries = ahead.get("entries")
        count = ahead["files"]
        missing = (count["bytes"], count["count"]) if entries is None else _missing(layout, ahead, entries)
        found.append(Need("files", layout.releases, missing[0], missing[1]))
    arrived = models.arrived(layout)
    # Of a snapshot all files under one name.
    sizes = {
        model["sha256"]: (path.partition("/hub/models--")[0], model["bytes"])
        for path, model in document["models"].items()
    }
    there = {*models.present(layout), *common.elsewhere(layout, sizes)}
    lacked: Dict[str, List[int]] = {}
    for sha256, (path, size) in sizes.items():
        if sha256 not in there:
            lacked.setdefault(path, []).append(max(size - arrived.get(sha256, 0), 0))
    found += [Need(f"model {path}", layout.models, sum(bytes_), 2 * len(bytes_)) for path, bytes_ in lacked.items()]
    for engine, facts in document.get("engines", {}).items():
        wheel = facts["wheels"].get(os.uname().machine)
        if wheel and engine not in engines.present(layout):
            found.append(Need("engine", layout.engines, wheel["bytes"] + wheel["unpacked"], 8))
    if haproxy:
        bytes_ = next(wheel["bytes"] for wheel in ahead["haproxy"].values() if wheel["sha256"] == haproxy)
        found.append(Need("HAProxy", layout.haproxies, bytes_ * (1 + _UNPACKED), 16))
    return found


def shortages(wanted: Iterable[Need]) -> List[Shortage]:
    """The file systems that lack room."""
    by_device: Dict[int, List[Need]] = {}
    for need in wanted:
        by_device.setdefault(os.stat(files.nearest(need.folder)).st_dev, []).append(need)
    found = []
    for together in by_device.values():
        where = files.nearest(together[-1].folder)
        seen = os.statvfs(where)
        free = seen.f_bavail * seen.f_frsize
        short_of_inodes = seen.f_files and seen.f_favail < sum(need.inodes for need in together)
        if free < sum(need.bytes for need in together) or short_of_inodes:
            found.append(Shortage(where, together, free, seen.f_favail))
    return found


def can_be_linked(layout: Layout, ahead: AheadQuestion) -> bool:
    """Whether some of the files may be there already, which only a list of them can tell."""
    return not os.path.isdir(layout.release(ahead["release"])) and any(map(os.path.isdir, _bases(layout, ahead)))


def make(
    supervisor: Supervisor, ahead: AheadQuestion, short: Sequence[Shortage], keep: int, tell: Callable[[str], None]
) -> None:
    """Remove what nothing needs, oldest first, on the file systems that lack room, until they lack none.

    Args:
        tell: called with the path of what was removed.
    """
    devices = {os.stat(item.where).st_dev for item in short}
    for path in _spare(supervisor, ahead, keep):
        if _device(path) in devices:
            files.remove_tree(path)
            tell(path)
            if not shortages(need for item in short for need in item.needs):
                return


def could_be_made(supervisor: Supervisor, ahead: AheadQuestion, short: Sequence[Shortage], keep: int) -> bool:
    """Whether `make` would find enough; nothing is removed."""
    spare = _spare(supervisor, ahead, keep)
    for item in short:
        device = os.stat(item.where).st_dev
        taken = [_taken(path) for path in spare if _device(path) == device]
        free = item.bytes_free + sum(size for size, _ in taken)
        inodes = item.inodes_free + sum(count for _, count in taken)
        if free < item.bytes_needed or inodes < item.inodes_needed:
            return False
    return True


def refusal(short: Sequence[Shortage]) -> Failure:
    """What to say where nothing more can go."""
    return Failure(
        REFUSED,
        " ".join(item.sentence() for item in short),
        next_step=f"make room there (du -xh {short[0].where} shows what takes it), or give the target a path on "
        "a larger disk",
    )


def _spare(supervisor: Supervisor, ahead: AheadQuestion, keep: int) -> List[str]:
    """What could go, oldest first: content and uploads that neither a needed release nor this one has to do with."""
    wanted, layout = ahead["document"], supervisor.layout
    stay = content.needed(layout, keep, supervisor)
    kept = content.of(layout, [*read_documents(layout, stay).values(), wanted])
    own = {layout.incoming(ahead["nonce"]), layout.release(ahead["release"])}
    own |= {layout.incoming_model(model["sha256"]) for model in wanted["models"].values()}
    own |= {layout.incoming_engine(engine) for engine in wanted.get("engines", {})}
    if not os.path.isdir(layout.releases):
        return []
    found = [*content.everything(layout), *content.halves(layout)]
    found += [layout.release(name) for name in content.releases(layout) if name not in stay]
    found += [layout.release(name) for name in os.listdir(layout.releases) if name.startswith(".incoming-")]
    return sorted((path for path in found if path not in kept | own), key=content.age, reverse=True)


def _bases(layout: Layout, ahead: AheadQuestion) -> List[str]:
    """Where files of the release may be already: in an upload that was cut, or in the release that serves."""
    return [layout.incoming(ahead["nonce"]), os.path.realpath(layout.channel(ahead["channel"]))]


def _missing(layout: Layout, ahead: AheadQuestion, entries: Sequence[Tuple[str, int, int]]) -> Tuple[int, int]:
    """Bytes and number of the files that are neither in the release that serves nor in an upload that was cut."""
    bases = _bases(layout, ahead)
    folders: Set[str] = set()
    bytes_, count = 0, 0
    for path, size, when in entries:
        folders.add(os.path.dirname(path))
        if not any(_is_there(os.path.join(base, path), size, when) for base in bases):
            bytes_ += -(-size // _BLOCK) * _BLOCK
            count += 1
    return bytes_, count + len(folders)


def _is_there(path: str, size: int, when: int) -> bool:
    """As rsync judges it: by size and time."""
    try:
        seen = os.lstat(path)
    except OSError:
        return False
    return seen.st_size == size and int(seen.st_mtime) == when


def _device(path: str) -> int:
    """The file system that a path is on; -1 where it is gone meanwhile."""
    try:
        return os.lstat(path).st_dev
    except OSError:
        return -1


def _taken(folder: str) -> Tuple[int, int]:
    """Bytes and inodes that come free with a folder: of what is linked from elsewhere, none."""
    bytes_, inodes = 0, 0
    with contextlib.suppress(OSError):  # gone meanwhile
        for parent, folders, names in tree.walk(folder):
            inodes += len(folders)
            for name in names:
                seen = os.lstat(os.path.join(folder, parent, name))
                if seen.st_nlink == 1:
                    bytes_, inodes = bytes_ + seen.st_blocks * 512, inodes + 1
    return bytes_, inodes + 1


def _mib(bytes_: int) -> int:
    """Mebibytes, rounded up."""
    return -(-bytes_ >> 20)
