"""Files that are private keys: read on this machine, and shipped only on purpose.

A key that lies in the project's folder, perhaps the very one that opens the target, would be readable by every account
of the host. Names tell which files are worth a look, and the first bytes whether one is a key.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

_LOOKED_AT = 64 * 1024  # bytes: a key stands at the beginning, or behind a few certificates
_SUFFIXES = frozenset(
    ["", ".pem", ".key", ".crt", ".ppk", ".asc", ".age", ".rsa", ".dsa", ".ecdsa", ".ed25519", ".openssh", ".json"]
)
_SEALED = {".p12", ".pfx", ".jks", ".keystore"}  # what is in these, only their password tells
_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"
    rb"|PuTTY-User-Key-File-\d:|AGE-SECRET-KEY-1"
)


def is_private_key(root: Path, path: str) -> bool:
    """Whether the file `path` below `root` is a private key, by its name and what is in it."""
    name = PurePosixPath(path)
    if name.suffix.lower() in _SEALED:
        return True
    if name.suffix == ".pub" or not (name.suffix.lower() in _SUFFIXES or name.name.startswith("id_")):
        return False
    return holds_private_key(root / path)


def holds_private_key(file: Path) -> bool:
    """Whether a private key stands in the beginning of `file`; what is no file, or cannot be read, holds none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as stream:
        try:
            return _KEY.search(stream.read(_LOOKED_AT)) is not None
        except OSError:
            return False
