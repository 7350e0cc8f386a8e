"""A stand-in for the comments of GitHub's API, with its faults."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class GitHub:
    """A stand-in for GitHub's comments: answers as its documentation says, and as `faults` say before that."""

    def __init__(self):
        self.comments = []
        self.faults = []  # of the next requests: status, headers, body
        self.asked = []
        github = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                github.asked.append((self.command, self.path, self.headers["Authorization"]))
                status, headers, value = github.faults.pop(0) if github.faults else github.does(self, body)
                content = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for name, text in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = answer  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def wrote(self, body, kind="Bot", login="github-actions[bot]"):
        self.comments.append({"id": len(self.comments) + 1, "body": body, "user": {"type": kind, "login": login}})

    def does(self, request, body):
        path, _, query = request.path.partition("?")
        if path == "/user":
            return 200, {}, {"login": "ada"}
        if request.command == "PATCH":
            found = next((each for each in self.comments if path.endswith(f"/issues/comments/{each['id']}")), None)
            if found:
                found["body"] = json.loads(body)["body"]
            return (200, {}, {"html_url": "https://x/1"}) if found else (404, {}, {"message": "Not Found"})
        assert path == "/repos/acme/shop/issues/7/comments"
        if request.command == "POST":
            self.wrote(json.loads(body)["body"])
            return 201, {}, {"html_url": f"https://x/{len(self.comments)}"}
        page = int(query.rpartition("=")[2])
        more = {"Link": f'<{self.url}{path}?page={page + 1}>; rel="next"'} if page * 100 < len(self.comments) else {}
        return 200, more, self.comments[(page - 1) * 100 : page * 100]
