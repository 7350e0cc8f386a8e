"""What the tests deploy: answers with what it was given; FAIL makes it fail.

At /ask users come, in numbers: ERRORS is the share of them that meet an error, SLOW how long each waits, in seconds.
Where ERRORS_AT is set, they meet errors on the hosts alone that have such a file.
"""

import http.server
import json
import os
import pathlib
import random
import sys
import time
import urllib.request

CALLS = os.environ.get("CALLS", "")  # where each answer is asked for: a service that calls another one
FAIL = os.environ.get("FAIL", "")

if FAIL == "exit":
    sys.stdout.write("about to exit\n")
    sys.stdout.flush()
    sys.exit(3)
if FAIL == "late":
    time.sleep(0.4)
    sys.exit(4)
if FAIL == "hang":
    time.sleep(1000)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, asked = self.path.partition("?parts=")
        if path == "/stream":
            self.stream(int(asked or 10))
            return
        if self.path == "/ask":
            self.ask()
            return
        status = 503 if FAIL == "sick" else 200
        answer = {
            "version": os.environ.get("VERSION", ""),
            "env": dict(os.environ),
            "files": {
                name: pathlib.Path(path).read_bytes().decode()
                for name, path in os.environ.items()
                if name.endswith("_FILE")
            },
            "argv": sys.argv,
            "pid": os.getpid(),
            "cwd": str(pathlib.Path.cwd()),
            "uid": os.getuid(),
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "called": self.called("/").read().decode() if CALLS else "",
        }
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def called(self, path):
        return urllib.request.urlopen(CALLS + path, timeout=300)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def ask(self):
        time.sleep(float(os.environ.get("SLOW", "0")))
        at = os.environ.get("ERRORS_AT", "/")
        share = float(os.environ.get("ERRORS", "0")) if pathlib.Path(at).exists() else 0.0
        self.send_response(500 if random.random() < share else 200)
        body = os.environ.get("VERSION", "").encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, parts):
        """An answer that takes a tenth of a second a part, and its end; or that of who is called."""
        if CALLS:
            self.pass_on(parts)
            return
        self.send_response(200)
        self.end_headers()
        for number in range(parts):
            self.wfile.write(f"{os.environ.get('VERSION', '')} {number}\n".encode())
            self.wfile.flush()
            time.sleep(0.1)
        self.wfile.write(b"end\n")

    def pass_on(self, parts):
        with self.called(f"/stream?parts={parts}") as answer:
            self.send_response(200)
            self.end_headers()
            for line in answer:
                self.wfile.write(line)
                self.wfile.flush()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer.allow_reuse_address = os.environ.get("REUSE") != "no"
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
