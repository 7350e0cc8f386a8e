"""Who may ask, and what a browser may do with the answers. ASGI.

The page knows a project's hosts and logs, and other programs of the same browser must not: so

- the name that is asked for has to be this machine's own (a stranger's name that is made to lead here, "DNS
  rebinding", is not);
- a request that another page makes is refused, by Sec-Fetch-Site (Fetch Metadata) and Origin (Fetch): pages on other
  ports of this machine count as others, although cookies don't tell them apart;
- whoever came by the one-time address has a cookie (HttpOnly, SameSite=Strict); an address opens the door once, and a
  cookie is worth nothing to another run of this program;
- nothing is loaded from elsewhere, no script stands in a page, and no page frames this one (CSP).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE_SECONDS = 12 * 3600.0
ENTER = "/enter/"
_TOKEN_SECONDS = 15 * 60.0
_NAMES = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ENTERED = """\
<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">
<link rel="icon" href="/static/icon.svg"><title>deploy</title><p><a href="/">Go on</a></p></html>
"""


class Door:
    """The addresses that open the page once, and the cookies of those who came by one.

    Args:
        entered: called when an address was used up.
    """

    def __init__(self, entered: Callable[[], None] = lambda: None) -> None:
        self.cookie = f"deploy-{secrets.token_hex(4)}"  # browsers don't tell the ports of a machine apart
        self._entered = entered
        self._tokens: dict[str, float] = {}
        self._cookies: dict[str, float] = {}

    def token(self) -> str:
        """What opens it once, within a quarter of an hour."""
        token = secrets.token_urlsafe(32)
        self._tokens = _fresh(self._tokens)
        self._tokens[token] = time.monotonic() + _TOKEN_SECONDS
        return token

    def enter(self, token: str) -> str | None:
        """The cookie for who has `token`, which is worth nothing from now on."""
        self._tokens = _fresh(self._tokens)
        found = next((each for each in self._tokens if secrets.compare_digest(each.encode(), token.encode())), None)
        if found is None:
            return None
        del self._tokens[found]
        cookie = secrets.token_urlsafe(32)
        self._cookies[cookie] = time.monotonic() + COOKIE_SECONDS
        self._entered()
        return cookie

    def knows(self, cookie: str) -> bool:
        self._cookies = _fresh(self._cookies)
        return any(secrets.compare_digest(each.encode(), cookie.encode()) for each in self._cookies)


def _fresh(until: dict[str, float]) -> dict[str, float]:
    now = time.monotonic()
    return {each: end for each, end in until.items() if end > now}


class Guard:
    """Stands before an app.

    Args:
        port: that it is reached at; None where that is not known (a socket, to which another port may lead).
    """

    def __init__(self, app: ASGIApp, door: Door, port: int | None) -> None:
        self._app = app
        self._door = door
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._refused(scope) or self._let_in(scope) or self._app)(scope, receive, guarded)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return _no(421, "this page has another name.", "open the address that `deploy ui` printed")
        if not _is_from_here(scope, headers, hosts[0]):
            return _no(403, "another page asked for this.", "open the address that `deploy ui` printed, by itself")
        return None

    def _is_ours(self, host: str) -> bool:
        name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if not colon:
            name, port = host, "80"
        return name.lower() in _NAMES and (port.isdigit() if self._port is None else port == str(self._port))

    def _let_in(self, scope: Scope) -> Response | None:
        """The answer to who does not have the cookie, or comes for it."""
        path = scope["path"]
        if path.startswith(ENTER) and scope["method"] == "GET":
            cookie = self._door.enter(path[len(ENTER) :])
            if cookie is None:
                return _no(403, "this address was used, or is too old.", "deploy ui prints another one")
            response = Response(_ENTERED, media_type="text/html")
            age = int(COOKIE_SECONDS)
            response.set_cookie(self._door.cookie, cookie, max_age=age, httponly=True, samesite="strict", path="/")
            return response
        if not any(self._door.knows(each) for each in _cookies(scope, self._door.cookie)):
            return _no(
                403, "nobody knows this browser here.", "open the address that `deploy ui` printed; it works once"
            )
        return None


def _is_from_here(scope: Scope, headers: Headers, host: str) -> bool:
    """Whether a page of ours asked for that, or a person did."""
    site = headers.get("sec-fetch-site", "")
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return False
    if scope["method"] not in ("GET", "HEAD"):
        return site in ("same-origin", "") and origin is not None
    if site in ("", "same-origin", "none"):
        return True
    # A link that somebody followed, which shows the page and tells the other one nothing.
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _cookies(scope: Scope, name: str) -> Iterable[str]:
    for header in Headers(scope=scope).getlist("cookie"):
        try:
            found = SimpleCookie(header).get(name)
        except CookieError:
            continue
        if found is not None:
            yield found.value


def _no(status: int, what: str, next_step: str) -> Response:
    return PlainTextResponse(f"{what}\nnext: {next_step}\n", status)
