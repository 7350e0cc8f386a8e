"""The shapes inside `release.json` that a host works from. Plain JSON: hosts have the standard library alone."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from provision.agent.checks.check import CheckDocument


class Idle(TypedDict):
    """How to see, before a program is stopped, that no request is in flight: all of these gauges are 0."""

    seconds: float  # how long that may take
    port: int
    path: str
    gauges: list[str]
    token: str  # the secret to send as a bearer token, by its name; or empty


class Needs(TypedDict):
    """What preflight compares with what the host has free; 0 where nothing is declared."""

    memory_bytes: int
    vram_bytes: int
    cpus: float


class Manifest(TypedDict):
    name: str  # of the file
    text: str


class ServiceDocument(TypedDict):
    name: str
    program: str  # as the supervisor knows it
    fingerprint: str
    after: list[str]  # services of the same lane that are proven before this one starts
    binary: str  # relative to the release, or absolute; empty where none is declared
    model: str  # relative to the release, a key of the document's `models`; empty where none is declared
    on_demand: bool
    prove: bool
    on_switch: str
    switch: str
    user: str
    starts: list[str]  # services on demand that its account may start through deploy-ctl
    ports: list[int]
    secrets: list[str]  # names alone
    secret_files: list[str]  # those among them that it gets as files
    checks: list[CheckDocument]
    drain: float
    idle: Idle | None  # None too where the supervisor itself waits, as systemd does
    stop_timeout: float  # from the polite signal to the hard one, `drain` included
    needs: Needs
    launch: str
    manifest: Manifest


class LaneDocument(TypedDict):
    services: list[ServiceDocument]  # in the order in which they start
    checks: list[CheckDocument]  # of the whole project


def canonical(document: object) -> bytes:
    """The one way to write a document: sorted keys, no spaces, UTF-8."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest(document: object) -> str:
    """sha256 of a document's canonical form, in hex."""
    return hashlib.sha256(canonical(document)).hexdigest()
