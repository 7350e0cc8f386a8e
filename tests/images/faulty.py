"""A server in front of a real registry that answers differently where a test says so.

It also speaks what Debian's registry does not: a token service.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, str], bytes]
_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Fault:
    """Applied to requests of `method` whose path matches, `times` times, after the first `skip`."""

    method: str
    path: str
    times: int = 1_000_000
    skip: int = 0
    answer: Answer | None = None  # instead of the registry's
    change: Callable[[Answer], Answer] | None = None  # of the registry's
    drop: bool = False  # hang up without a word
    before: Callable[[], None] | None = None  # something that happens just then
    unless: Callable[[], bool] = lambda: False


@dataclass
class Faulty:
    authority: str
    seen: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Authorization
    faults: list[Fault] = field(default_factory=list)
    login: tuple[str, str] | None = None  # whom the token service knows; None for no token flow
    refresh: str = ""  # the identity token it takes
    tokens: dict[str, str] = field(default_factory=dict)  # token -> scopes

    def on(self, method: str, path: str, **what: object) -> None:
        self.faults.append(Fault(method, path, **what))  # type: ignore[arg-type]

    def asked(self, method: str, path: str) -> int:
        return sum(1 for one, where, _ in self.seen if one == method and re.search(path, where))


@contextmanager
def faulty(upstream: str) -> Iterator[Faulty]:
    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Faulty(f"127.0.0.1:{server.server_address[1]}")
    Handler.faulty, Handler.upstream = found, upstream
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    faulty: Faulty
    upstream: str
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        authorization = self.headers.get("Authorization", "")
        self.faulty.seen.append((self.command, self.path, authorization))
        fault = self._fault()
        if fault and fault.before:
            fault.before()
        if fault and fault.drop:
            self.close_connection = True
            return
        answer = fault.answer if fault and fault.answer else self._answer(body, authorization)
        if fault and fault.change:
            answer = fault.change(answer)
        self._send(answer)

    do_GET = do_HEAD = do_PUT = do_POST = _serve  # noqa: N815  # the names that http.server looks for

    def _fault(self) -> Fault | None:
        for fault in self.faulty.faults:
            if fault.method == self.command and re.search(fault.path, self.path) and fault.times and not fault.unless():
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _answer(self, body: bytes, authorization: str) -> Answer:
        if self.path.startswith("/token"):
            return self._token(body, authorization)
        if self.faulty.login and self.faulty.tokens.get(authorization.removeprefix("Bearer ")) is None:
            challenge = f'Bearer realm="http://{self.faulty.authority}/token",service="faulty"'
            return 401, {"WWW-Authenticate": challenge}, b"{}"
        return self._forward(body)

    def _token(self, body: bytes, authorization: str) -> Answer:
        given = parse_qs(body.decode() if self.command == "POST" else urlsplit(self.path).query)
        pair = ":".join(self.faulty.login or ())
        known = (
            given.get("refresh_token") == [self.faulty.refresh]
            if self.command == "POST"
            else authorization == "Basic " + base64.b64encode(pair.encode()).decode()
        )
        if not known or given["service"] != ["faulty"]:
            return 401, {}, b"{}"
        token = f"token-{len(self.faulty.tokens)}"
        self.faulty.tokens[token] = " ".join(given["scope"])
        return 200, {}, json.dumps({"access_token" if self.command == "POST" else "token": token}).encode()

    def _forward(self, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self.upstream)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP | {"authorization"}}
        connection.request(self.command, self.path, body=body or None, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
        if self.command == "HEAD":
            kept["Content-Length"] = answer.getheader("Content-Length") or "0"
        connection.close()
        return answer.status, kept, content

    def _send(self, answer: Answer) -> None:
        status, headers, content = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""
