"""A trainer: it serves the model that rollouts talk to, and is told when they end."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from queue import Queue
from typing import Any

from tests.examples.serving import served

Answer = tuple[int, dict[str, Any]]


@dataclass
class Trainer:
    """Answers each turn with its number, calls a tool in the first and the second, and keeps what it is told.

    Where it has a `model`, the address of a llama-server, that one is asked instead, with the bearer token that came;
    that one calls no tools, so a call of `add` is put into what it says until `turns` are over.

    Attributes:
        made: how many tokens a message of its own is, where trainers say that.
        holds: turns wait here, where it is not set.
    """

    port: int = 0
    model: str = ""
    made: Callable[[dict[str, Any]], int] | None = None
    turns: int = 3
    bearers: set[str] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    ends: Queue[dict[str, Any]] = field(default_factory=Queue)
    holds: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.holds.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, asked: dict[str, Any], bearer: str) -> Answer:
        self.bearers.add(bearer)
        if path == "/v1/rollout/completed":
            self.ends.put(asked)
            return 200, {}
        self.asked.append(asked)
        self.holds.wait(60)
        turn = 1 + sum(message["role"] == "assistant" for message in asked["messages"])
        if self.model:
            status, answer = self._forward(path, asked, bearer)
            if status != 200:
                return status, answer
        else:
            message = {"role": "assistant", "content": f"turn {turn}"}
            answer = {"choices": [{"message": message, "finish_reason": "stop"}]}
        message = answer["choices"][0]["message"]
        if turn < self.turns:
            call = {"name": "add", "arguments": json.dumps({"a": turn, "b": 1})}
            message["tool_calls"] = [{"id": f"call-{turn}", "type": "function", "function": call}]
        if self.made:
            answer["token_ids"] = [0] * self.made(message)
        return 200, answer

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
            status, body = made.answer(self.path, asked, self.headers.get("Authorization", ""))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with served(Handler) as made.port:
        yield made
