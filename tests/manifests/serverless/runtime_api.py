"""Lambda's side of its Runtime API (Lambda developer guide, "Using the Lambda runtime API", 2018-06-01)."""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

_ROOT = "/2018-06-01/runtime"
_DEADLINE = 60.0  # for a loaded machine; none of these tests comes near it


@dataclass(frozen=True)
class Said:
    """What the runtime posted: to `response`, `error` or `init/error`."""

    where: str
    body: Any
    text: str


class RuntimeApi:
    """Gives events to one runtime at a time, and hears what it says."""

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._said: queue.Queue[tuple[str, bytes]] = queue.Queue()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                assert self.path == f"{_ROOT}/invocation/next"
                number, event = api._events.get()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Lambda-Runtime-Aws-Request-Id", number)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + 60) * 1000)))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:1:function:cres")
                self.send_header("Lambda-Runtime-Trace-Id", "Root=1-0-0")
                self.send_header("Content-Length", str(len(event)))
                self.end_headers()
                self.wfile.write(event)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api._said.put((self.path, body))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Nothing: it would be noise among the tests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> RuntimeApi:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def invoke(self, event: object) -> Said:
        number = str(uuid.uuid4())
        self._events.put((number, json.dumps(event).encode()))
        said = self.heard()
        assert said.where in (f"invocation/{number}/response", f"invocation/{number}/error")
        return Said(said.where.rpartition("/")[2], said.body, said.text)

    def heard(self) -> Said:
        path, body = self._said.get(timeout=_DEADLINE)
        return Said(path.removeprefix(f"{_ROOT}/"), json.loads(body), body.decode())
