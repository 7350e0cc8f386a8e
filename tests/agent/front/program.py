"""A program behind a front: it says who it is, in every way in which programs are spoken to. `program.py NAME PORT`"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

NAME, PORT = sys.argv[1], int(sys.argv[2])


class Program(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients may leave."""


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        if self.headers.get("Upgrade") == "websocket":
            self._echo()
        elif url.path == "/stream":
            self._stream(Path(asked["until"]))
        else:
            time.sleep(float(asked.get("wait", 0.0)))
            self._whole(
                {
                    "program": NAME,
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                }
            )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._whole({"program": NAME, "sha256": hashlib.sha256(body).hexdigest()})

    def _whole(self, what: object) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, told: Path) -> None:
        """Server-sent events, until somebody makes that file."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in itertools.count():
            last = told.exists()
            piece = f"data: {NAME} {number}{' last' if last else ''}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if last:
                break
            time.sleep(0.02)
        self.wfile.write(b"0\r\n\r\n")

    def _echo(self) -> None:
        """As WebSockets begin (RFC 6455, 1.3); what follows is given back as it is."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while said := self.connection.recv(4096):
            self.connection.sendall(NAME.encode() + b":" + said)

    def log_message(self, *args: object) -> None:
        pass


Program(("127.0.0.1", PORT), Answer).serve_forever()
