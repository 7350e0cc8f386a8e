"""The package's MCP server over streamable HTTP, a client's session apart from every other's.

Two things differ from `rlm mcp-serve` on standard input. Code runs where RLM_ENVIRONMENT says; the package itself
(2.1.3) would run it in this process. And the agent is not offered: it has a model, an environment and a budget of its
own, whatever was declared; POST /completion has those that were.
"""

from __future__ import annotations

from typing import Any

from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import CallToolResult, TextContent
from rlm.mcp import server as package

from src.completion import runtime


class _Sessions(package.SessionManager):
    def _create_repl(self) -> Any:
        return runtime().repl if self.trust_level == "sandboxed" else super()._create_repl()


async def _no_agent(*_: object) -> CallToolResult:
    said = "Error: this server runs no agents; it completes prompts at POST /completion."
    return CallToolResult(content=[TextContent(type="text", text=said)], isError=True)


class _EachItsOwn(Server[Any, Any]):
    """A server for each session that is opened."""

    async def run(self, *streams: Any, **options: Any) -> None:
        await package.create_server().run(*streams, **options)


def manager() -> StreamableHTTPSessionManager:
    package.SessionManager = _Sessions
    package._agent_run = _no_agent
    return StreamableHTTPSessionManager(_EachItsOwn("rlm-runtime"), max_sessions=200)
