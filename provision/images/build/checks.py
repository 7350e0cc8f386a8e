"""Checks that an image declares, or that a person asks for: a page, a port, a command, a worker that registers.

An image declares them in its image.toml, each with a limit if need be; the label keeps them beside the image.

    checks = [{ http = "/v1/models" }, { tcp = 9481 }, { command = ["bitnet", "diagnose"] },
              { queue = "rollouts", timeout = "2m" }]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from provision.project.checks import IN_IMAGES
from provision.project.units import parse_seconds

LABEL = "bitnet-provision.checks"
_SECONDS = 30.0


@dataclass(frozen=True)
class Declared:
    """One check, of a kind in `IN_IMAGES`."""

    kind: str
    value: Any  # as its kind has it; a list is a tuple
    seconds: float = _SECONDS  # how long it may take to pass; a command, to end

    @property
    def name(self) -> str:
        """What evidence calls it, and promotion.toml demands."""
        return f"{self.kind} {' '.join(self.value) if self.kind == 'command' else self.value}"


def parse_check(written: object) -> Declared:
    """A check as image.toml or the label has it.

    Raises:
        ValueError: it is none; the message says why.
    """
    if not isinstance(written, Mapping):
        raise ValueError(f'checks: expected a table such as {{ http = "/v1/models" }}, not {written!r}')
    kinds = [key for key in written if key in IN_IMAGES]
    unknown = written.keys() - {*IN_IMAGES, "timeout"}
    if unknown or len(kinds) != 1:
        raise ValueError(f"checks: {dict(written)}: expected one of {', '.join(IN_IMAGES)}, and perhaps timeout")
    (kind,) = kinds
    value = written[kind]
    value = tuple(value) if isinstance(value, list) else value
    if not IN_IMAGES[kind].fits(value):
        raise ValueError(f"checks: {kind}: expected {IN_IMAGES[kind].expected}, not {written[kind]!r}")
    try:
        return Declared(kind, value, parse_seconds(written.get("timeout", _SECONDS)))
    except ValueError as error:
        raise ValueError(f"checks: {kind}: timeout: {error}") from None


def write(checks: Iterable[Mapping[str, Any]]) -> str:
    """For the label; empty where there are none."""
    listed = list(checks)
    return json.dumps(listed, separators=(",", ":"), sort_keys=True) if listed else ""


def of_label(label: str) -> list[Declared]:
    """What `write` wrote.

    Raises:
        ValueError: somebody else wrote it.
    """
    listed = json.loads(label or "[]")
    if not isinstance(listed, list):
        raise ValueError(f"{LABEL} is not a list of checks")
    return [parse_check(item) for item in listed]
