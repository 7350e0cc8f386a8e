"""What a service was measured to do, as evidence, history and metrics have it. Types alone."""

from __future__ import annotations

from typing import List, TypedDict


class Rates(TypedDict):
    """What requests side by side met. Times in seconds."""

    requests: int
    prompt_tokens: int  # of one request, as the service counts them
    generated: int  # tokens of all of them
    ttft_p50: float  # to the first token
    ttft_p95: float
    tokens_per_second: float  # of all requests together, from the first token to the last
    tokens_per_second_each: float  # of one request, the median
    seconds: float  # that all of it took, with the prompts


class _Measured(TypedDict):
    short: Rates  # the first round, with few tokens: whatever runs, this is measured
    beside: List[str]  # who else used cores or GPUs meanwhile
    worse: List[str]  # than what stable measured here; empty where nobody can say


class Measured(_Measured, total=False):
    full: Rates  # absent while users wait
    stable: Rates  # what it was compared with
    dollars_per_million: float  # generated tokens, where the machine's price is known
