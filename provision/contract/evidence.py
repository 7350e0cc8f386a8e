"""What a host recorded of its checks, and what was signed of that. Types alone.

A host records and never signs: who signs holds the project's key, a laptop or CI, and hands back what it signed.
"""

from __future__ import annotations

from typing import Dict, List, TypedDict

from .events import Checked


class Hardware(TypedDict):
    """Where the checks ran."""

    hostname: str
    arch: str
    cpu: str
    cores: int
    memory: int  # bytes
    gpus: List[str]


class _Record(TypedDict):
    transaction: str
    kind: str
    channel: str
    release: str
    who: str
    outcome: str  # committed; or what its failure says
    began: int  # seconds since 1970
    ended: int
    hardware: Hardware
    checks: List[Checked]  # called as in the release's stable lane, whichever lane ran


class Record(_Record, total=False):
    """What the checks of one transaction saw of the release that it brought to a channel."""

    images: Dict[str, str]  # name and tag as declared -> digest, where a tag is followed


class Kept(TypedDict):
    """What a host has about one release."""

    records: List[Record]
    signed: List[str]  # envelopes, as they were signed
