"""A rollout server: a trainer asks for a rollout, which talks to the trainer's model until it is done.

    POST /rollout   {"rollout_id", "messages", "callback_url", …} -> 202; who asks twice starts it once
    GET /health     {"status": "ok", "running": 3}
    GET /warm       uses each tokenizer once
    GET /metrics

Each turn asks CALLBACK/v1/chat/completions; the end is told to CALLBACK/v1/rollout/completed. Both ways carry a bearer
token: what a trainer sends is ROLLOUT_API_KEY, what it gets is ROLLOUT_CALLBACK_KEY.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import tokens
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from jinja2 import TemplateError
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, generate_latest
from pydantic import BaseModel, Field

API_KEY = os.environ["ROLLOUT_API_KEY"]
CALLBACK_KEY = os.environ["ROLLOUT_CALLBACK_KEY"]
# Networks that rollouts may call back to, so that nobody has the key sent elsewhere. Addresses alone: a name may move.
CALLBACKS = tuple(ip_network(network) for network in os.environ["ROLLOUT_CALLBACKS"].split())
TIMEOUT = float(os.environ["HTTP_CLIENT_TIMEOUT"])
# All of them are loaded before anything is served.
try:
    TOKENIZERS = tokens.Tokenizers(
        tokens.declared(os.environ.get("TOKENIZERS", "")), int(os.environ["TOKENIZER_CACHE_SIZE"])
    )
except tokens.Unavailable as error:
    sys.exit(f"rollout-server: {error}")

RUNNING = Gauge("rollouts_running", "Rollouts in work.")
ENDED = Counter("rollouts_ended", "Rollouts by how they ended.", ["outcome"])


class Rollout(BaseModel):
    rollout_id: Annotated[str, Field(min_length=1, max_length=200)]
    messages: list[dict[str, Any]]
    callback_url: str
    max_turns: Annotated[int, Field(ge=1, le=64)] = 1
    completion_params: dict[str, Any] = {}  # sent along with each turn: temperature, max_tokens, …
    tokenizer: str | None = None  # one of TOKENIZERS; with it, what was said is counted
    max_tokens: Annotated[int, Field(ge=1)] | None = None  # no further turn once there are as many


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Rollouts in work are finished before the server ends; `drain` is how long that may take."""
    headers = {"Authorization": f"Bearer {CALLBACK_KEY}"}
    app.state.rollouts = {}
    async with httpx.AsyncClient(timeout=TIMEOUT, headers=headers) as client:
        app.state.client = client
        yield
        await asyncio.gather(*app.state.rollouts.values())


app = FastAPI(title="rollout-server", lifespan=lifespan)


def authorized(given: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> None:
    if not hmac.compare_digest(given.credentials.encode(), API_KEY.encode()):
        raise HTTPException(401, "the bearer token is another one")


def may_call(url: str) -> bool:
    try:
        parts = urlsplit(url)
        address = ip_address(parts.hostname or "")
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and any(address in network for network in CALLBACKS)


@app.get("/health")
async def health() -> dict[str, Any]:
    return {"status": "ok", "running": len(app.state.rollouts)}


@app.get("/warm")
def warm() -> dict[str, Any]:
    """The first use of a tokenizer takes longer than those after it: not a trainer's, then."""
    said = [{"role": "user", "content": "Hello"}]
    counts = {name: TOKENIZERS.count(name, said) for name in TOKENIZERS.commits}
    return {"tokens": counts, "in_memory": TOKENIZERS.in_memory}


@app.get("/metrics")
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@app.post("/rollout", status_code=202, dependencies=[Depends(authorized)])
async def start(rollout: Rollout) -> dict[str, str]:
    if not may_call(rollout.callback_url):
        raise HTTPException(422, "callback_url is no address in ROLLOUT_CALLBACKS")
    if rollout.tokenizer is not None and rollout.tokenizer not in TOKENIZERS.commits:
        raise HTTPException(422, "tokenizer is none of TOKENIZERS")
    if rollout.rollout_id not in app.state.rollouts:
        task = asyncio.create_task(run(rollout, app.state.client))
        app.state.rollouts[rollout.rollout_id] = task
        task.add_done_callback(lambda _: app.state.rollouts.pop(rollout.rollout_id))
    return {"rollout_id": rollout.rollout_id, "status": "accepted"}


async def run(rollout: Rollout, client: httpx.AsyncClient) -> None:
    """All turns of a rollout, and the word that it has ended."""
    base, messages, outcome = rollout.callback_url.rstrip("/"), list(rollout.messages), "completed"
    spent: int | None = None
    with RUNNING.track_inprogress():
        try:
            for _ in range(rollout.max_turns):
                request = {**rollout.completion_params, "messages": messages, "rollout_id": rollout.rollout_id}
                answer = await client.post(f"{base}/v1/chat/completions", json=request)
                choice = answer.raise_for_status().json()["choices"][0]
                messages.append(choice["message"])
                if rollout.tokenizer is not None:
                    spent = await asyncio.to_thread(TOKENIZERS.count, rollout.tokenizer, messages)
                if choice.get("finish_reason") == "stop" or (spent or 0) >= (rollout.max_tokens or 1 << 62):
                    break
        except (httpx.HTTPError, LookupError, TypeError, ValueError, TemplateError) as error:
            outcome = f"failed: {type(error).__name__}"
        told = {"rollout_id": rollout.rollout_id, "status": outcome, "final_messages": messages, "tokens": spent}
        try:
            (await client.post(f"{base}/v1/rollout/completed", json=told)).raise_for_status()
        except httpx.HTTPError:
            outcome = "not told"
    ENDED.labels(outcome.partition(":")[0]).inc()


if __name__ == "__main__":
    uvicorn.run(app, host=sys.argv[1], port=int(os.environ["ROLLOUT_SERVER_PORT"]))
