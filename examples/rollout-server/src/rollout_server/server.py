"""python -m rollout_server.server

    POST /rollout   {"rollout_id", "server_url", "messages", …} -> 200 {"status": "COMPLETED" or "ERROR", …} at its end
    POST /init      the same -> 202 with the tools; how it ended is told to SERVER_URL/v1/rollout/completed
    GET /tools      what a model may call
    GET /health     {"status": "healthy", "service": "rollout-server", …}
    GET /warm       uses each declared tokenizer once
    GET /metrics

Each turn asks SERVER_URL/v1/chat/completions, with `callback_api_key` as bearer token where the request brings one, and
else ROLLOUT_CALLBACK_KEY. What trainers send is ROLLOUT_API_KEY.
"""

from __future__ import annotations

import asyncio
import hmac
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import structlog
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rollout_server import log, settings, tools
from rollout_server.metrics import Held
from rollout_server.networks import is_private
from rollout_server.protocol import Ended, Rollout
from rollout_server.rollouts import Another, Rollouts, TooMany
from rollout_server.settings import Settings
from rollout_server.tokens import Tokenizers, Unavailable
from rollout_server.trainer import LONGEST, connections

_log = structlog.get_logger("rollout_server.server")
router = APIRouter()


def application(told: Settings, tokenizers: Tokenizers) -> FastAPI:
    """What is served."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connections(told) as pool:
            Held(tokenizers, pool, told.rollouts)
            app.state.rollouts = Rollouts(told, tokenizers, pool)
            yield
            await app.state.rollouts.finish()

    app = FastAPI(title="rollout-server", lifespan=lifespan)
    app.state.settings, app.state.tokenizers = told, tokenizers
    app.add_middleware(Bounded)
    app.include_router(router)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


class Bounded:
    """Reads no more of a request than one may have: its body is there before anybody knows who sent it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > LONGEST:
                raise HTTPException(413, f"a request has {LONGEST >> 20} MiB at most", {"Connection": "close"})
            return message

        await self._app(scope, bounded, send)


async def _invalid(_: Request, error: Any) -> Response:
    """What is wrong with a request, without what it said: that may be a key."""
    faults = [{key: fault[key] for key in ("type", "loc", "msg")} for fault in error.errors()]
    return JSONResponse({"detail": faults}, 422)


async def authorized(request: Request) -> None:
    """A trainer has the key. Where there is none, it has to be near."""
    key = request.app.state.settings.api_key
    if key:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), key.encode()):
            raise HTTPException(401, "the bearer token is another one", {"WWW-Authenticate": "Bearer"})
    elif not is_private(request.client.host if request.client else ""):
        raise HTTPException(403, "without ROLLOUT_API_KEY private networks alone are answered")


async def allowed(request: Request, rollout: Rollout) -> Rollout:
    """One that could be run: what can be seen before it begins."""
    state = request.app.state
    if not state.settings.callbacks.may_be_at(urlsplit(rollout.server_url).hostname or ""):
        raise HTTPException(422, "server_url is outside the networks that callbacks may go to (ROLLOUT_CALLBACKS)")
    if rollout.tokenizer_name is not None:
        try:
            state.tokenizers.revision(rollout.tokenizer_name, rollout.tokenizer_revision)
        except Unavailable as error:
            raise HTTPException(422, f"tokenizer_name: {error}") from None
    return rollout


def _start(request: Request, rollout: Rollout, *, tell: bool) -> Any:
    try:
        return request.app.state.rollouts.start(rollout, tell=tell)
    except TooMany:
        raise HTTPException(429, "as many rollouts as there may be are in work", {"Retry-After": "1"}) from None
    except Another:
        raise HTTPException(409, "another rollout of this rollout_id is in work") from None


Asked = Annotated[Rollout, Depends(allowed)]


@router.post("/rollout", dependencies=[Depends(authorized)], response_model_exclude_none=True)
async def run(request: Request, rollout: Asked) -> Ended:
    # A trainer that hangs up, and asks again, finds it going on.
    ended: Ended = await asyncio.shield(_start(request, rollout, tell=False))
    return ended


@router.post("/init", status_code=202, dependencies=[Depends(authorized)])
@router.post("/v1/rollout/init", status_code=202, dependencies=[Depends(authorized)])
async def begin(request: Request, rollout: Asked) -> dict[str, Any]:
    _start(request, rollout, tell=True)
    return {"rollout_id": rollout.rollout_id, "tools": tools.described()}


@router.get("/tools")
async def described() -> dict[str, Any]:
    return {"tools": tools.described()}


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    state = request.app.state
    running = {"running": len(state.rollouts), "max": state.settings.rollouts}
    cache = state.tokenizers.statistics()
    return {"status": "healthy", "service": "rollout-server", "rollouts": running, "tokenizer_cache": cache}


@router.get("/warm")
def warm(request: Request) -> dict[str, Any]:
    """The first use of a tokenizer takes longer than those after it: not a trainer's, then."""
    tokenizers: Tokenizers = request.app.state.tokenizers
    said = [{"role": "user", "content": "Hello"}]
    try:
        counts = {name: tokenizers.length(name, tokenizers.revision(name, None), said) for name in tokenizers.commits}
    except Unavailable as error:
        _log.error("a tokenizer is not to be had", error=str(error))
        raise HTTPException(503, "a tokenizer is not available") from None
    return {"tokens": counts, "in_memory": tokenizers.statistics()["size"]}


@router.get("/metrics")
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def main() -> None:
    try:
        told = settings.read()
        log.set_up(told.level)
        tokenizers = Tokenizers(told.tokenizers, told.kept)
        tokenizers.preload()
    except (settings.Unusable, Unavailable) as error:
        sys.exit(f"rollout-server: {error}")
    if not told.api_key:
        _log.warning("ROLLOUT_API_KEY is not set: loopback and private networks alone are answered")
    if told.callbacks.everywhere:
        _log.warning("ROLLOUT_CALLBACKS is any: who may ask for a rollout decides which hosts are called")
    uvicorn.run(
        application(told, tokenizers), host=told.host, port=told.port, log_config=None, access_log=told.level == "DEBUG"
    )


if __name__ == "__main__":
    main()
