"""The demo's web service: says which release answers, and asks llama-server for words."""

import http.client
import json
import os
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "one"
HEALTHY = True


def complete(prompt: str) -> str:
    llama = http.client.HTTPConnection(os.environ["LLAMA"], timeout=30)
    llama.request("POST", "/completion", json.dumps({"prompt": prompt, "n_predict": 24}))
    return str(json.load(llama.getresponse())["content"])


class Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/health":
            self.answer(200 if HEALTHY else 500, "fine" if HEALTHY else "broken")
        elif url.path == "/ask":
            prompt = urllib.parse.parse_qs(url.query).get("prompt", ["Hello"])[0]
            self.answer(200, complete(prompt))
        else:
            self.answer(200, VERSION)

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Web).serve_forever()
