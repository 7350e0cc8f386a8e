"""How a canary gets its share of the requests, and what its users may see: declared by [targets.NAME.rollout]."""

from __future__ import annotations

from typing import List, TypedDict

HOLD, PROMOTE, ABORT = "hold", "promote", "abort"  # what becomes of a step that nothing can be said of


class LimitsDocument(TypedDict, total=False):
    """What ends a rollout; what is left out does not."""

    errors: float  # the share of requests that may fail, beyond stable's: 0.02 is two of a hundred
    slower: float  # how much longer half of all answers may take to their first byte than stable's: 0.25 is a quarter
    ttft_p95: float  # seconds within which 95 of 100 answers begin, or within which stable's do
    tokens_per_second: float  # how far below stable's half of all comparisons may lie: -0.2 is a fifth


class RolloutDocument(TypedDict):
    """The steps of a rollout on one host."""

    steps: List[float]  # shares of the requests, growing; after the last the canary is promoted
    each: float  # seconds that a step takes at least
    at_most: float  # seconds after which a step of which nothing can be said ends
    undecided: str  # HOLD, PROMOTE (as if nothing was wrong with it) or ABORT
    abort: LimitsDocument
