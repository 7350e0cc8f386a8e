"""A stand-in for llama-server, with the routes, metrics and manners that the watchdog relies on.

Real llama-server cannot be told to stall; this one can. The word in the file of `--mode-file` steers it: `loading`,
`silent` (no answer), `drip` (one without an end), `stall` (a request in flight and no progress), `slow` (a request in
flight, decode steps go on), `busy` (`/metrics` does not answer), `nonsense`, `exit`.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def _leave_when_told(mode: Callable[[], str]) -> None:
    while mode() != "exit":
        time.sleep(0.02)
    os._exit(5)


def serve(host: str, port: int, mode_file: Path | None) -> None:
    steps = 0

    def mode() -> str:
        return mode_file.read_text().strip() if mode_file and mode_file.exists() else ""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal steps
            now = mode()
            if now == "silent" or (now == "busy" and self.path == "/metrics"):
                time.sleep(3)
                return
            if now == "drip":
                self.drip()
            elif now == "loading":
                self.answer(503, "Loading model")
            elif self.path == "/health":
                self.answer(200, "ok")
            elif now == "nonsense":
                self.answer(200, "llamacpp:requests_processing many")
            else:
                steps += now == "slow"
                flying = int(now in ("stall", "slow"))
                self.answer(
                    200,
                    f"llamacpp:requests_processing {flying}\nllamacpp:requests_deferred 0\n"
                    f"llamacpp:n_decode_total {steps}\nllamacpp:tokens_predicted_total 0\n",
                )

        def drip(self) -> None:
            self.send_response(200)
            self.end_headers()
            while mode() == "drip":
                self.wfile.write(b"x")
                time.sleep(0.05)

        def answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    threading.Thread(target=_leave_when_told, args=(mode,), daemon=True).start()
    ThreadingHTTPServer((host, port), Answers).serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--mode-file", type=Path)
    options, _ = parser.parse_known_args()
    serve(options.host, options.port, options.mode_file)
