"""What a registry answers to "who are you?": the WWW-Authenticate header.

RFC 9110, section 11.6.1: schemes with `name=value` pairs, several in one header, values bare or quoted with
`\\` escapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# What can begin in one way alone is read in one pass, however many blanks a registry sends.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # "token" is the RFC's word for a word
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_CREDENTIAL = r"[A-Za-z0-9._~+/-]+=*"  # the RFC's token68
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=\s|$|,)(?:\s+{_CREDENTIAL}(?=\s*(?:,|$)))?")


@dataclass(frozen=True)
class Challenge:
    """One way to prove who we are."""

    scheme: str  # in lower case
    parameters: Mapping[str, str] = field(default_factory=dict)


def challenges(header: str) -> list[Challenge]:
    """All that are offered; what is no challenge ends the reading."""
    found = []
    at = 0
    while match := _SCHEME.match(header, at):
        at, parameters = match.end(), {}
        while parameter := _PARAMETER.match(header, at):
            name, quoted, bare = parameter.groups()
            parameters[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            at = parameter.end()
        found.append(Challenge(match[1].lower(), parameters))
    return found
