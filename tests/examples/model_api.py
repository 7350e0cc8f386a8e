"""A model's provider that is ours: it speaks as OpenAI's API does, and always says the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKENS = 21


@dataclass
class Provider:
    """What it was asked, and how it answers."""

    port: int = 0
    key: str = "a key of the model's"
    broken: int = 0  # so many of the next requests fail
    asked: list[dict[str, Any]] = field(default_factory=list)
    at_once: threading.Barrier | None = None  # each request waits until so many are there

    @property
    def environ(self) -> dict[str, str]:
        base = f"http://127.0.0.1:{self.port}/v1"
        return {"RLM_MODEL": "openai/gpt-4o", "OPENAI_API_BASE": base, "OPENAI_API_KEY": self.key}


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


@contextmanager
def provider() -> Iterator[Provider]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._say(200, {"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append(asked)
            if made.broken:
                made.broken -= 1
                self._say(500, {"error": {"message": "overloaded"}})
                return
            if made.at_once:
                made.at_once.wait(60)
            message = {"role": "assistant", "content": "four"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": TOKENS}
            kind = {"id": "a", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
            self._say(200, {**kind, "choices": [choice], "usage": usage})

        def _say(self, status: int, said: dict[str, Any]) -> None:
            if self.headers["Authorization"] != f"Bearer {made.key}":
                status, said = 401, {"error": {"message": "no such key"}}
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = _Server(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
