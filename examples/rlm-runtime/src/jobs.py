"""What the queue `rlm-tasks` holds: prompts, with what the package's `RLM` is to be made with.

Queue("rlm-tasks", connection=redis).enqueue("src.jobs.process_completion", "a prompt", model="gpt-4o-mini")
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlm.core.types import RLMResult

QUEUE = "rlm-tasks"


def process_completion(prompt: str, **kwargs: Any) -> RLMResult:
    """The runtime's result.

    Raises:
        RuntimeError: the completion failed; the queue then has it among those that did.
    """
    from src.completion import complete

    result = asyncio.run(complete(prompt, **kwargs))
    if result.error is not None:
        raise RuntimeError(result.error)
    return result
