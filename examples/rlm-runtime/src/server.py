"""python -m src.server: completions and MCP over HTTP, on RLM_PORT (8080).

    GET  /health       whether provider, place for code and logs are there; asked by anybody
    POST /completion   {"prompt": "…", "system": "…"} -> {"response": "…", "trajectory_id": "…", …}
    *    /mcp          MCP over streamable HTTP
    GET  /metrics      what Prometheus asks for; at RLM_METRICS_PORT (8000) as well, there without a token

RLM_SERVER_TOKEN is who may ask (see guard.py), RLM_LISTEN the address, RLM_MAX_REQUESTS how many completions at once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from mcp.server.transport_security import RequestBodyLimitMiddleware
from prometheus_client import make_asgi_app, start_http_server
from rlm.core.exceptions import TimeoutExceeded
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from src import completion, logs, store
from src.guard import Guard
from src.health import Health
from src.mcp_http import manager

_LONGEST = 4 << 20  # bytes of a request
# The package's own words for limits that were declared; what else goes wrong is for the log alone.
_LIMITS = ("Maximum recursion depth", "Token budget", "Cost budget")

log = structlog.get_logger()


async def _completion(request: Request) -> JSONResponse:
    app = request.app.state
    try:
        asked = await request.json()
    except (ValueError, RecursionError):
        return JSONResponse({"error": "the body is not JSON"}, 400)
    prompt, system = (asked.get("prompt"), asked.get("system")) if isinstance(asked, dict) else (None, None)
    if not (isinstance(prompt, str) and prompt.strip() and isinstance(system, str | None)):
        return JSONResponse({"error": 'expected {"prompt": "…"}, and perhaps a "system" text'}, 422)
    if app.running >= app.most:
        return JSONResponse({"error": f"{app.most} completions are in work"}, 429, headers={"Retry-After": "5"})
    app.running += 1
    try:
        result = await completion.complete(prompt, system)
    except TimeoutExceeded:
        return JSONResponse({"error": "it took longer than RLM_TIMEOUT_SECONDS"}, 504)
    except Exception:
        log.exception("completion broke")
        return JSONResponse({"error": "internal error"}, 500)
    finally:
        app.running -= 1
    number = str(result.trajectory_id)
    if result.error is None:
        totals = {"total_tokens": result.total_tokens, "total_cost_usd": result.total_cost_usd}
        return JSONResponse({"response": result.response, "trajectory_id": number, **totals})
    if result.error.startswith(_LIMITS):
        return JSONResponse({"error": result.error, "trajectory_id": number}, 422)
    return JSONResponse({"error": "the completion failed; the log says why", "trajectory_id": number}, 502)


async def _health(request: Request) -> JSONResponse:
    found = await request.app.state.health.ask()
    return JSONResponse(found, 200 if found["status"] == "healthy" else 503)


def app() -> Starlette:
    """The service; what it needs is made once it starts."""
    mcp = manager()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.health = Health()
        app.state.running, app.state.most = 0, int(os.environ.get("RLM_MAX_REQUESTS") or 200)
        async with mcp.run():
            yield

    return Starlette(
        lifespan=lifespan,
        middleware=[
            Middleware(Guard, token=os.environ.get("RLM_SERVER_TOKEN", "")),
            Middleware(RequestBodyLimitMiddleware, max_body_size=_LONGEST),
        ],
        routes=[
            Route("/health", _health),
            Route("/completion", _completion, methods=["POST"]),
            Route("/mcp", _Application(mcp.handle_request)),
            Route("/metrics", _Application(make_asgi_app())),
        ],
    )


class _Application:
    """One of ASGI's, where Starlette would take a function for an endpoint of its own."""

    def __init__(self, handle: ASGIApp) -> None:
        self.handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.handle(scope, receive, send)


def main() -> None:
    logs.configure()
    completion.configure()
    listen = os.environ.get("RLM_LISTEN") or "127.0.0.1"
    port, metrics = int(os.environ.get("RLM_PORT") or 8080), int(os.environ.get("RLM_METRICS_PORT") or 8000)
    try:
        start_http_server(metrics, addr=listen)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # Another copy on this host has it; this one is asked at its own port.
        log.warning("metrics port taken", port=metrics, instead=f"{port}/metrics")
    if not os.environ.get("RLM_SERVER_TOKEN"):
        log.warning("no RLM_SERVER_TOKEN: this machine and private networks are answered, without a token")
    store.keep_shipping()
    drain = int(os.environ.get("RLM_DRAIN_SECONDS") or 120)
    uvicorn.run(app(), host=listen, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=drain)


if __name__ == "__main__":
    main()
