"""Variables that look like secrets, stand in the declaration, and are declared as none.

What a `${NAME}` gives is part of the release, readable by everybody on the host, unless something says that NAME is a
secret. Names and values that keys and passwords have are therefore worth a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from provision.project.fault import Path
from provision.project.template import Known, references

_NAME = re.compile(
    r"SECRET|PASSW|PASSPHRASE|CREDENTIAL|(^|_)(APIKEY|PW|PWD)(_|$)|(^|_)(PASS|DSN)$|(^|_)TOKEN$|(?<!PUBLIC)(?<!PUB)_KEY$"
)
# Keys as their issuers write them, and a password in a URL.
SHAPE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}"
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bglpat-[\w-]{20}|\bxox[abpr]-[A-Za-z0-9-]{10,}|\bhf_[A-Za-z0-9]{30,}"
    r"|\bAGE-SECRET-KEY-1\w+|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.|://[^/\s:@]*:[^/\s:@]+@"
)
_NO_SECRET = re.compile(r"[~.]?/.*|true|false|[0-9.]*", re.IGNORECASE | re.DOTALL)  # a place, a switch, a number
_LEAST_SAME, _LEAST_HELD = 6, 8  # characters: a longer secret is another value, or in one, by no chance
_NO_PLACES = ("user", "image")  # keys: what stands there is no secret, whatever else has that value
_ELSEWHERE = ("targets", "secrets", "hooks")  # what says where hosts and passwords are is no part of a release


@dataclass(frozen=True)
class Suspect:
    """`${name}` stands at `path`."""

    path: Path
    name: str

    @property
    def message(self) -> str:
        return f"{self.name} looks like a secret, and what stands here is part of every release."


def suspects(merged: Mapping[str, object], known: Known) -> Iterator[Suspect]:
    """Those in `merged`, the declaration as it is written, presets applied."""
    declared = [value for name in known.declared if len(value := known.values.get(name, "")) >= _LEAST_SAME]
    for path, text in _texts((), {key: value for key, value in merged.items() if key not in _ELSEWHERE}):
        if path[-1] in _NO_PLACES:
            continue
        for name, default in references(text):
            value = known.values.get(name) or default or ""
            looks = looks_secret(name, value) or any(
                secret in value if len(secret) >= _LEAST_HELD else secret == value for secret in declared
            )
            if looks and known.secret(name) is None:
                yield Suspect(path, name)
                break


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable has the name, or the value, that keys and passwords have."""
    return bool(SHAPE.search(value) or (_NAME.search(name) and not _NO_SECRET.fullmatch(value)))


def _texts(path: Path, node: object) -> Iterator[tuple[Path, str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _texts((*path, key), value)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _texts((*path, index), value)
