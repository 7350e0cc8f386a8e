"""Pinned host keys, as sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT", writes them.

Names may be hashed, hold wildcards and negations, and stand as `[host]:port` for a port other than 22. A host may
have several keys. `@revoked` forbids a key; `@cert-authority` lines are not used, because the SSH library does not
verify host certificates. The first file that names the host decides, a revocation in any file counts.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from provision.errors import UsageError


@dataclass(frozen=True)
class HostKey:
    """The public key a host shows: its type, and its bytes as SSH sends them."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As OpenSSH prints it: `SHA256:` and unpadded base64."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        """The key as a known_hosts line ends."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True)
class Entry:
    """One line of a known_hosts file; `marker` is empty, `@revoked` or `@cert-authority`."""

    marker: str
    names: str
    key: HostKey
    file: Path
    number: int


class Verdict(Enum):
    """What the pinned keys say about a key that a host shows."""

    PINNED = "pinned"
    UNKNOWN = "unknown"  # no file names this host
    CHANGED = "changed"  # this host is pinned to other keys
    REVOKED = "revoked"


def lookup_name(address: str, port: int) -> str:
    """The name under which known_hosts files keep `address` on `port`."""
    return address.lower() if port == 22 else f"[{address.lower()}]:{port}"


def read_pins(files: Iterable[Path]) -> list[list[Entry]]:
    """The entries of each of `files`; one that does not exist has none.

    Raises:
        UsageError: a file exists but cannot be read. Passing over it could accept a revoked key.
    """
    read_files = []
    for file in files:
        try:
            text = file.expanduser().read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"cannot read the pinned host keys in {file}", why=str(error.strerror)) from error
        lines = enumerate(text.splitlines(), 1)
        read_files.append([entry for number, line in lines if (entry := parse_line(line, file, number))])
    return read_files


def parse_line(line: str, file: Path = Path(), number: int = 0) -> Entry | None:
    """The entry on `line`, or `None` for comments, blank lines and what is not an entry (as ssh passes over them)."""
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return None
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if len(fields) < 3 or marker not in ("", "@revoked", "@cert-authority"):
        return None
    try:
        blob = base64.b64decode(fields[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return Entry(marker, fields[0], HostKey(fields[1], blob), file, number)


def names_host(names: str, host: str) -> bool:
    """Whether the first field of an entry, `names`, means `host` (as `lookup_name` writes it)."""
    found = False
    for pattern in names.split(","):
        if pattern.startswith("|"):
            found = found or _is_hash_of(pattern, host)
        elif fnmatch.fnmatchcase(host, _as_fnmatch(pattern.removeprefix("!").lower())):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def pinned(files: Sequence[Sequence[Entry]], host: str) -> list[Entry]:
    """The entries with which the first file that names `host` pins it."""
    for entries in files:
        if found := [entry for entry in entries if not entry.marker and names_host(entry.names, host)]:
            return found
    return []


def judge(files: Sequence[Sequence[Entry]], host: str, key: HostKey) -> Verdict:
    """What `files` say about `key`, shown by `host`."""
    for entry in (entry for entries in files for entry in entries):
        if entry.marker == "@revoked" and entry.key.blob == key.blob and names_host(entry.names, host):
            return Verdict.REVOKED
    expected = pinned(files, host)
    if not expected:
        return Verdict.UNKNOWN
    return Verdict.PINNED if key.blob in (entry.key.blob for entry in expected) else Verdict.CHANGED


def _is_hash_of(pattern: str, host: str) -> bool:
    """`|1|salt|HMAC-SHA1(salt, host)`, both base64."""
    try:
        _, version, salt, digest = pattern.split("|")
        wanted = base64.b64decode(digest, validate=True)
        made = hmac.digest(base64.b64decode(salt, validate=True), host.encode(), "sha1")
    except (ValueError, UnicodeEncodeError):
        return False
    return version == "1" and hmac.compare_digest(wanted, made)


def _as_fnmatch(pattern: str) -> str:
    """ssh has no character sets: a `[` is a bracket."""
    return re.sub(r"\[", "[[]", pattern)
