"""What was seen of requests: who gets what, and how that went. Types alone."""

from __future__ import annotations

from typing import Dict, List, TypedDict

from .rollout import FindingDocument, RolloutRecord


class _Figures(TypedDict):
    requests: int
    errors: int  # of them: status 5xx, or an answer that broke off at our end
    bytes: int  # of the answers


class Figures(_Figures, total=False):
    """What the users of a lane saw; of a TCP service, by connections."""

    first_byte: Dict[str, float]  # p50, p95, p99 -> seconds, of those that were answered
    tokens_per_second: float  # of an engine: what its programs made, by their own count


class ProgramTraffic(TypedDict):
    """A program, as what stands before it sees it."""

    program: str
    state: str  # ready; drain: it ends what it has begun, and gets nothing new
    in_flight: int


class Point(Figures, total=False):
    """What users of a lane saw within some minutes of a series."""

    at: float  # when they began, in seconds since 1970
    seconds: float  # how long they are


class _LaneTraffic(TypedDict):
    share: float  # of the clients that come without a lane of their own; 0.05 is five of a hundred
    programs: List[ProgramTraffic]
    seen: Figures


class LaneTraffic(_LaneTraffic, total=False):
    """Who gets what in a lane, and how that went."""

    series: List[Point]  # oldest first, where it was asked for; of minutes in which nobody came there is none


class ServiceTraffic(TypedDict):
    port: int  # the declared one
    mode: str  # http, tcp
    held: int  # requests that wait for a program
    lanes: Dict[str, LaneTraffic]


class RolloutSeen(TypedDict):
    record: RolloutRecord
    seconds: float  # how long its step has gone on
    says: str  # what it waits for, or how it ended
    findings: List[FindingDocument]
