"""What the queue holds: prompts. The worker runs `complete`; whoever asks needs its name alone."""

from __future__ import annotations

import asyncio
import os

QUEUE = "rlm"
COMPLETE = "src.jobs.complete"


def complete(prompt: str) -> str:
    """The runtime's answer; what it took is counted, also where it fails."""
    from rlm.core.orchestrator import RLM

    from src import meters

    runtime = RLM(model=os.environ["RLM_MODEL"], environment=os.environ["RLM_ENVIRONMENT"])
    result = asyncio.run(runtime.completion(prompt))
    meters.TOKENS.labels("in").inc(result.total_input_tokens)
    meters.TOKENS.labels("out").inc(result.total_output_tokens)
    meters.COST.inc(result.total_cost_usd or 0)
    meters.COMPLETIONS.labels("ok" if result.success else "failed").inc()
    if result.error is not None:
        raise RuntimeError(result.error)
    return result.response
