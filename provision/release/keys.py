"""Files that are private keys or hold passwords: read on this machine, and shipped only on purpose.

A key that lies in the project's folder, perhaps the very one that opens the target, would be readable by every account
of the host. Names tell which files are worth a look, and the first bytes whether one is a key.
"""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

_LOOKED_AT = 64 * 1024  # bytes: a key stands behind a few certificates, or among a few facts
_LOOKED_AT_FIRST = 1024  # of a file that no suffix speaks of, and there are many
# One of them is in every key.
_WORDS = (b"PRIVATE KEY", b"SECRET-KEY", b"PuTTY-User", b"client-key-data:", b"LS0tLS1CRUdJTi", b"PrivateKey")
_SUFFIXES = frozenset(
    [
        *("", ".pem", ".key", ".crt", ".cer", ".cert", ".p8", ".ppk", ".asc", ".age", ".rsa", ".dsa", ".ecdsa"),
        *(".ed25519", ".openssh", ".ovpn", ".conf", ".json", ".yaml", ".yml", ".txt"),
    ]
)
_SEALED = {".p12", ".pfx", ".pk8", ".jks", ".keystore"}  # no text; in most, only their password tells what is in them
_PUT_ASIDE = re.compile(r"(\.(bak|old|orig|save)|~)+$", re.IGNORECASE)  # by an editor or a careful person
_KINDS = (b"", b"RSA ", b"EC ", b"DSA ", b"OPENSSH ", b"ENCRYPTED ", b"PGP ")
_BEGINNINGS = [b"-----BEGIN " + kind + b"PRIVATE KEY" for kind in _KINDS]
_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"
    rb"|PuTTY-User-Key-File-\d:|AGE-SECRET-KEY-1"
    rb"|\bclient-key-data: *[A-Za-z0-9+/]{16}|^[ \t]*PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{40}"  # kubectl's, WireGuard's
    # In base64, as far as what comes behind changes nothing.
    rb"|" + b"|".join(re.escape(base64.b64encode(text[: len(text) // 3 * 3])) for text in _BEGINNINGS),
    re.MULTILINE,
)
# Where programs keep passwords, and what one looks like there; a reference to a variable is none.
_PASSWORD = {
    ".netrc": re.compile(rb"\bpassword\s+\S"),
    ".npmrc": re.compile(rb"_(authToken|password|auth)\s*=\s*(?!\$\{)\S"),
    ".pgpass": re.compile(rb"^(?!#)([^:\n]*:){4}[^\n]", re.MULTILINE),
}


def is_secret(root: Path, path: str) -> str:
    """What the file `path` below `root` gives away, by name and content, such as "is a private key"; else empty."""
    name = _PUT_ASIDE.sub("", path.rpartition("/")[2])
    if name in _PASSWORD:
        return "holds a password" if _PASSWORD[name].search(_beginning(f"{root}/{path}", _LOOKED_AT)) else ""
    stem, _, ending = name.rpartition(".")
    suffix = f".{ending.lower()}" if stem else ""
    if suffix in _SEALED:
        return "is a private key"
    if suffix not in _SUFFIXES and not name.startswith("id_"):
        return ""
    text = _beginning(f"{root}/{path}", _LOOKED_AT if suffix else _LOOKED_AT_FIRST)
    return "is a private key" if any(word in text for word in _WORDS) and _KEY.search(text) else ""


def _beginning(file: str, length: int) -> bytes:
    """The first bytes of `file`; none of what is no file, or cannot be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, length)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
