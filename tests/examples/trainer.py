"""A trainer: it serves the model that rollouts talk to, and is told when they end."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from queue import Queue
from typing import Any

from tests.examples.serving import served

Answer = tuple[int, dict[str, Any]]


@dataclass
class Trainer:
    """Answers each turn with its number, ends the third with "stop", and keeps what it is told.

    Where it has a `model`, the address of a llama-server, that one is asked instead, with the bearer token that came.
    """

    port: int = 0
    model: str = ""
    bearers: set[str] = field(default_factory=set)
    ends: Queue[dict[str, Any]] = field(default_factory=Queue)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, asked: dict[str, Any], bearer: str) -> Answer:
        self.bearers.add(bearer)
        if path == "/v1/rollout/completed":
            self.ends.put(asked)
            return 200, {}
        if self.model:
            return self._forward(path, asked, bearer)
        turn = len(asked["messages"])
        message = {"role": "assistant", "content": f"turn {turn}"}
        return 200, {"choices": [{"message": message, "finish_reason": "stop" if turn == 3 else "length"}]}

    def _forward(self, path: str, asked: dict[str, Any], bearer: str) -> Answer:
        headers = {"Content-Type": "application/json", "Authorization": bearer}
        request = urllib.request.Request(self.model + path, json.dumps(asked).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, {}


@contextmanager
def trainer(model: str = "") -> Iterator[Trainer]:
    made = Trainer(model=model)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = made.answer(self.path, asked, self.headers["Authorization"])
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with served(Handler) as made.port:
        yield made
