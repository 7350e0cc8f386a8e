"""Google Cloud Functions: {"prompt": "…"} -> {"response": "…"}."""

from __future__ import annotations

import asyncio
import logging
import os
from functools import cache
from typing import TYPE_CHECKING, Any

from rlm import RLM

if TYPE_CHECKING:
    from flask import Request

log = logging.getLogger(__name__)


@cache
def _rlm() -> RLM:
    return RLM(model=os.environ["RLM_MODEL"], environment=os.environ["RLM_ENVIRONMENT"])


def completion(request: Request) -> tuple[dict[str, Any], int]:
    asked = request.get_json(silent=True)
    result = asyncio.run(_rlm().completion(asked.get("prompt", "") if isinstance(asked, dict) else ""))
    if result.error is not None:
        log.error("a completion failed: %s", result.error)
        return {"error": "the completion failed; the log says why"}, 500
    return {"response": result.response}, 200
