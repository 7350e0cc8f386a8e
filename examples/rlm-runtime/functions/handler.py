"""AWS Lambda: {"prompt": "…"} -> {"statusCode": 200, "body": "{\"response\": …, \"trajectory_id\": …}"}."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from rlm import RLM

log = logging.getLogger(__name__)
# At a cold start. A function has no Docker daemon: code of the model runs in its own process, which is its caller's
# alone.
rlm = RLM(model=os.environ["RLM_MODEL"], environment=os.environ["RLM_ENVIRONMENT"])


async def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001  # as Lambda calls it
    try:
        result = await rlm.completion(event.get("prompt", ""))
    except Exception:
        log.exception("a completion broke")
        return {"statusCode": 500, "body": json.dumps({"error": "internal error"})}
    if result.error is not None:
        log.error("a completion failed: %s", result.error)
        return {"statusCode": 500, "body": json.dumps({"error": "the completion failed; the log says why"})}
    told = {"response": result.response, "trajectory_id": str(result.trajectory_id)}
    return {"statusCode": 200, "body": json.dumps(told)}
