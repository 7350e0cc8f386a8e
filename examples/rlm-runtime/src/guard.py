"""Who may ask: whoever has the bearer token. Where none is declared, this machine and private networks.

Peers behind a published port look private, so that without a token is for a network of one's own:
`deploy check --production` fails. A page in a browser there is kept out all the same, because a browser says where
it comes from; where it does not (a page that has its own name point here), the name is one that somebody outside owns.
"""

from __future__ import annotations

from hmac import compare_digest
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = frozenset({"/health"})
# RFC 6761, RFC 6762, ICANN's resolution 2024.07.29.06: under these nobody has a name that others resolve.
_PRIVATE = (".localhost", ".local", ".internal")


class Guard:
    """In front of everything but `OPEN`."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refusal(scope) if scope["type"] == "http" and scope["path"] not in OPEN else None
        await (refused or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if self.token:
            said = headers.get("authorization", "")
            if compare_digest(said.encode(), f"Bearer {self.token}".encode()):
                return None
            asked = {"WWW-Authenticate": "Bearer"}
            return JSONResponse({"error": "a bearer token is needed"}, 401, headers=asked)
        if "origin" in headers:
            return JSONResponse({"error": "without RLM_SERVER_TOKEN no browser is answered"}, 403)
        if not _is_private(headers.get("host", "")):
            return JSONResponse({"error": "without RLM_SERVER_TOKEN this name is not answered; ask by address"}, 403)
        peer = ip_address((scope.get("client") or ("0.0.0.0", 0))[0])
        if (getattr(peer, "ipv4_mapped", None) or peer).is_private:
            return None
        return JSONResponse({"error": "without RLM_SERVER_TOKEN only private networks are answered"}, 403)


def _is_private(host: str) -> bool:
    """Whether a Host header names an address, or a name that only a private network resolves."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return "." not in name or name.lower().rstrip(".").endswith(_PRIVATE)
    return True
