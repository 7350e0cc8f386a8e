"""Layers that are the same bytes for the same files, whoever built them and when.

Builders write the time of the build into layers, list files in the order of a directory, and compress as their version
does; only some can be told not to. So what a builder made is written anew: entries sorted, times set to the commit's,
names of owners dropped. The files of a base stay the bytes they are.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_LEVEL = 6  # 9 takes four times as long for a hundredth less
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """One, as a registry keeps it."""

    diff_id: str  # digest of the tar
    digest: str  # digest of what is stored
    size: int


def rewrite(tar: IO[bytes], blobs: Path, cache: Path, epoch: int) -> Layer:
    """Store a layer of our own making in `blobs`."""
    with tempfile.TemporaryFile(dir=blobs) as plain:
        with (
            tarfile.open(fileobj=tar, mode="r:*") as given,
            tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as written,
        ):
            # A hard link has to come after the file that it is one more name of.
            for entry in sorted(given.getmembers(), key=lambda entry: (entry.islnk(), entry.name)):
                written.addfile(_timeless(entry, epoch), given.extractfile(entry) if entry.isreg() else None)
        plain.seek(0)
        diff_id = "sha256:" + hashlib.file_digest(plain, "sha256").hexdigest()
        plain.seek(0)
        return keep(plain, diff_id, blobs, cache)


def keep(tar: IO[bytes], diff_id: str, blobs: Path, cache: Path) -> Layer:
    """Store a layer as it is. What was compressed once is not compressed again.

    Args:
        diff_id: the digest of `tar`.
    """
    known = cache / f"{diff_id.replace(':', '-')}-{_LEVEL}.gz"
    if not known.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        # No name and no time in the header (RFC 1952, section 2.3).
        with (
            tempfile.NamedTemporaryFile(dir=cache, delete=False) as out,
            gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=out, mtime=0) as packed,
        ):
            while chunk := tar.read(_CHUNK):
                packed.write(chunk)
        Path(out.name).replace(known)
    with known.open("rb") as content:
        value = hashlib.file_digest(content, "sha256").hexdigest()
    shutil.copyfile(known, blobs / value)
    return Layer(diff_id, f"sha256:{value}", known.stat().st_size)


def _timeless(entry: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    plain = copy.copy(entry)
    plain.mtime, plain.uname, plain.gname = epoch, "", ""
    plain.pax_headers = {key: value for key, value in entry.pax_headers.items() if key.startswith("SCHILY.xattr.")}
    return plain
