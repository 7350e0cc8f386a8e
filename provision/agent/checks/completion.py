"""Probe of `completion`: llama-server, or anything with its `POST /completion`, predicts tokens, and fast enough.

llama.cpp, tools/server/README.md: the answer holds `content`, `tokens_predicted` and `timings`.
"""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING

from .check import Failed

if TYPE_CHECKING:
    from ...contract.checks import CheckDocument
    from ...contract.events import Facts
    from .check import Reach

    class CompletionCheck(CheckDocument):
        url: str
        token: str  # as for http
        prompt: str
        tokens: int
        min_tokens_per_second: float


def attempt(check: CompletionCheck, reach: Reach, seconds: float) -> Facts:
    prompt = {"prompt": check["prompt"], "n_predict": check["tokens"], "temperature": 0.0, "cache_prompt": False}
    began = time.monotonic()
    answer = reach.ask(check["url"].rstrip("/") + "/completion", seconds, json.dumps(prompt).encode("utf-8"))
    latency = time.monotonic() - began
    if answer.status not in (0, 200):
        raise Failed(f"HTTP {answer.status} {answer.gist}".rstrip())
    try:
        said = json.loads(answer.text)
        tokens = int(said.get("tokens_predicted", 0))
        speed = float(said.get("timings", {}).get("predicted_per_second", 0.0) or tokens / max(latency, 1e-6))
        if not math.isfinite(speed):
            raise ValueError(speed)
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        raise Failed(f"the answer is not a completion: {answer.gist}") from None
    if tokens < 1:
        raise Failed("the model predicted no token")
    if speed < check.get("min_tokens_per_second", 0.0):
        raise Failed(f"{speed:.1f} tokens/s, below the {check['min_tokens_per_second']:g} that are demanded")
    return {
        "tokens": tokens,
        "tokens_per_second": round(speed, 2),
        "latency_seconds": round(latency, 4),
        "content": str(said.get("content", ""))[:400],
    }
