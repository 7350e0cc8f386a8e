"""The digest of a folder: what a release holds, in one number, the same on a laptop and on a host.

It covers each file's path, bytes and whether it may be executed, and each symbolic link's path and target, in the
order of the paths' raw bytes. It leaves out what differs between two good copies: owners, times, the other mode
bits (a named release has 0555 and 0444), and folders, which exist for what is in them. The release document,
`release.json` at the top, is left out too, because it is digested by itself (`release_id`).

Every record ends each of its fields with NUL, which no path, target or hex digest can hold, so two different
folders never write the same bytes:

    file:  "f" NUL path NUL ("x" or "-") NUL sha256 of its bytes, in hex NUL
    link:  "l" NUL path NUL target NUL
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Iterable, Iterator, List, NamedTuple, Tuple

DOCUMENT = "release.json"

_HEADER = b"tree 1\0"
_CHUNK = 1 << 20  # bytes read at once: a model or a binary never lies in memory whole
_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
}


class Entry(NamedTuple):
    """One file or link. A file has `sha256` and no `target`; a link has `target` and no `sha256`."""

    path: str  # relative, "/" between the parts; bytes that are not UTF-8 as os.fsdecode gives them
    executable: bool
    size: int
    sha256: str
    target: str


class NotAFile(ValueError):
    """Something that is neither a file nor a link, such as a socket."""

    def __init__(self, path: str, mode: int) -> None:
        self.path = path
        self.kind = _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")
        super().__init__(f"{path} is {self.kind}, and a release holds files and links alone")


def digest(root: str) -> Tuple[str, List[Entry]]:
    """The digest of everything under `root`, and the entries it was made of, so that a difference can be named.

    Raises:
        NotAFile: something in it is neither a file, a folder nor a link.
        OSError: something in it cannot be read.
    """
    paths = (os.path.join(folder, name) for folder, _, others in walk(root) for name in others)
    entries = [entry(root, path) for path in paths if path != DOCUMENT]
    return combine(entries), sort(entries)


def walk(root: str) -> Iterator[Tuple[str, List[str], List[str]]]:
    """Each folder under `root` from the top, relative to it, with the names of the folders and of all else in it.

    Folders may lie in each other as deep as a path is long; `os.walk` calls itself for each one before Python 3.12.

    Raises:
        OSError: a folder cannot be read.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        folders: List[str] = []
        others: List[str] = []
        with os.scandir(os.path.join(root, folder)) as found:
            for item in found:
                (folders if item.is_dir(follow_symlinks=False) else others).append(item.name)
        yield folder, folders, others
        waiting.extend(os.path.join(folder, name) for name in folders)


def entry(root: str, path: str) -> Entry:
    """Read one file or link at `path` under `root`."""
    place = os.path.join(root, path)
    found = os.lstat(place)
    if stat.S_ISLNK(found.st_mode):
        return Entry(path, executable=False, size=0, sha256="", target=os.readlink(place))
    if not stat.S_ISREG(found.st_mode):
        raise NotAFile(path, found.st_mode)
    # NOFOLLOW: should the file turn into a link just now, its target must not be read in its place.
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size, sha256 = _hash(descriptor, min(found.st_size + 1, _CHUNK))
    finally:
        os.close(descriptor)
    return Entry(path, executable=bool(found.st_mode & stat.S_IXUSR), size=size, sha256=sha256, target="")


def text(path: str, content: str) -> Entry:
    """A file that would say just this."""
    data = content.encode()
    return Entry(path, executable=False, size=len(data), sha256=hashlib.sha256(data).hexdigest(), target="")


def combine(entries: Iterable[Entry]) -> str:
    """The digest of a folder that holds exactly `entries`, in hex."""
    total = hashlib.sha256(_HEADER)
    for item in sort(entries):
        total.update(_record(item))
    return total.hexdigest()


def sort(entries: Iterable[Entry]) -> List[Entry]:
    return sorted(entries, key=lambda item: os.fsencode(item.path))


def release_id(document: bytes, tree: str) -> str:
    """The id of a release: sha256 of "release 1", NUL, the tree's digest in hex, NUL, and `release.json`'s bytes."""
    return hashlib.sha256(b"release 1\0" + tree.encode() + b"\0" + document).hexdigest()


def _hash(descriptor: int, chunk: int) -> Tuple[int, str]:
    total = hashlib.sha256()
    size = 0
    while True:
        block = os.read(descriptor, chunk)
        if not block:
            return size, total.hexdigest()
        size += len(block)
        total.update(block)


def _record(item: Entry) -> bytes:
    path = os.fsencode(item.path)
    if item.sha256:
        fields = [b"f", path, b"x" if item.executable else b"-", item.sha256.encode()]
    else:
        fields = [b"l", path, os.fsencode(item.target)]
    return b"".join(field + b"\0" for field in fields)
