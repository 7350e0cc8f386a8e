"""Files that are private keys: read on this machine, and shipped only on purpose.

A key that lies in the project's folder, perhaps the very one that opens the target, would be readable by every account
of the host. Names tell which files are worth a look, and the first bytes whether one is a key.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_LOOKED_AT = 64 * 1024  # bytes: a key stands behind a few certificates, or among a few facts
_LOOKED_AT_FIRST = 1024  # of a file that no suffix speaks of, and there are many
_WORDS = (b"PRIVATE KEY", b"SECRET-KEY", b"PuTTY-User")  # one of them is in every key
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
    name = path.rpartition("/")[2]
    stem, _, ending = name.rpartition(".")
    suffix = f".{ending.lower()}" if stem else ""
    if suffix in _SEALED:
        return True
    if suffix not in _SUFFIXES and not name.startswith("id_"):
        return False
    return holds_private_key(f"{root}/{path}", _LOOKED_AT if suffix else _LOOKED_AT_FIRST)


def holds_private_key(file: str, beginning: int = _LOOKED_AT) -> bool:
    """Whether a private key stands in the beginning of `file`; what is no file, or cannot be read, holds none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        text = os.read(descriptor, beginning)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return any(word in text for word in _WORDS) and _KEY.search(text) is not None
