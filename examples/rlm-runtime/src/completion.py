"""One completion of the package, within the limits that the environment declares: counted, logged, its trajectory kept.

What a completion may do is read by the package itself: RLM_MAX_DEPTH, RLM_TOKEN_BUDGET, RLM_ALLOWED_PATHS,
RLM_DOCKER_NETWORK_DISABLED and so on. Two of these it reads and does not pass on (2.1.3: RLM_PARALLEL_TOOLS,
RLM_MAX_PARALLEL), and it has none for calls that fail or repeat. Those are here.
"""

from __future__ import annotations

import os
import time
from typing import Any

import litellm
import structlog
import tenacity
from rlm.backends.base import BackendResponse
from rlm.backends.litellm import LiteLLMBackend
from rlm.core.config import load_config
from rlm.core.orchestrator import RLM
from rlm.core.types import CompletionOptions, RLMResult

from src import meters

log = structlog.get_logger()
_PASSING = (
    litellm.exceptions.APIConnectionError,
    litellm.exceptions.InternalServerError,
    litellm.exceptions.RateLimitError,
    litellm.exceptions.ServiceUnavailableError,
    litellm.exceptions.Timeout,
)


class Patient(LiteLLMBackend):
    """Calls the provider again where that may help, RLM_API_RETRIES times, waiting longer each time."""

    async def complete(self, *args: Any, **kwargs: Any) -> BackendResponse:
        again = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_PASSING),
            stop=tenacity.stop_after_attempt(1 + int(os.environ.get("RLM_API_RETRIES") or 3)),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=20),
            reraise=True,
        )
        return await again(super().complete, *args, **kwargs)


def configure() -> None:
    """For the whole process: answers are kept for RLM_CACHE_SECONDS, in redis where REDIS_URL names one."""
    seconds = int(os.environ.get("RLM_CACHE_SECONDS") or 0)
    if seconds and os.environ.get("REDIS_URL"):
        litellm.enable_cache(type="redis", url=os.environ["REDIS_URL"], ttl=seconds)
    elif seconds:
        litellm.enable_cache(type="local", ttl=seconds)


def runtime(**given: Any) -> RLM:
    """One of the package's, for one completion: variables that a prompt sets are nobody else's.

    What is given stands for what the environment says: `model`, `environment` and so on, as the package has them.
    """
    config = given.pop("config", None) or load_config()
    model = given.pop("model", config.model)
    backend = Patient(
        model=model,
        temperature=config.temperature,
        max_retries=0,  # those of the provider's own client, which would multiply
        timeout=float(os.environ.get("RLM_API_TIMEOUT") or 120),
    )
    return RLM(**{"backend": backend, "model": model, "environment": config.environment, "config": config, **given})


async def complete(prompt: str, system: str | None = None, **given: Any) -> RLMResult:
    """The package's result, also of one that failed: see its `error`.

    Raises:
        rlm.core.exceptions.TimeoutExceeded: it took longer than RLM_TIMEOUT_SECONDS.
    """
    rlm = runtime(**given)
    config = rlm.config
    options = CompletionOptions(
        max_depth=config.max_depth,
        max_subcalls=config.max_subcalls,
        token_budget=config.token_budget,
        tool_budget=config.tool_budget,
        timeout_seconds=config.timeout_seconds,
        parallel_tools=config.parallel_tools,
        max_parallel=config.max_parallel,
    )
    began = time.monotonic()
    status, said = "failed", {}
    try:
        with meters.RUNNING.track_inprogress():
            result = await rlm.completion(prompt, system, options)
        meters.TOKENS.observe(result.total_tokens)
        meters.COST.inc(result.total_cost_usd or 0)
        status = "ok" if result.success else "failed"
        said = {"trajectory_id": str(result.trajectory_id), "tokens": result.total_tokens, "calls": result.total_calls}
        said |= {"tool_calls": result.total_tool_calls, "cost_usd": result.total_cost_usd}
        return result
    finally:
        seconds = time.monotonic() - began
        meters.REQUESTS.labels(status).inc()
        meters.SECONDS.observe(seconds)
        log.info("completion", status=status, seconds=round(seconds, 3), **said)
