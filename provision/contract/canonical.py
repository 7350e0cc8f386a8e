"""The one way to write a document: what is digested, here and on a host, is these bytes."""

from __future__ import annotations

import hashlib
import json


def canonical(document: object) -> bytes:
    """Sorted keys, no spaces, UTF-8."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest(document: object) -> str:
    """sha256 of a document's canonical form, in hex."""
    return hashlib.sha256(canonical(document)).hexdigest()
