"""A stand-in for the Hugging Face Hub, in a process of its own: what a repository has, its files by ranges, its faults.

    python -m tests.models.hub FOLDER TOKEN

FOLDER holds ORG/REPOSITORY/REVISION/FILE; `main` is a link to a revision. It says on stdout where it listens: the Hub,
and another host that it sends readers of files on to, as the Hub does, at addresses that are good for seconds. A
repository whose name begins with `gated-` is shown with TOKEN alone. What goes wrong is said by PUT /control, a list of
faults for the next requests of files: `429`, `500`, `cut` (half of it comes), `hang` (and then nothing), `gone`, `long`
(it says that it is longer), `other` (other bytes), `changed` (the same of small files, from then on). GET /control is
what was asked of both, and whether a token came along.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_GOOD_SECONDS = 10.0  # a busy machine takes some of them


class Hub:
    def __init__(self, folder: Path, token: str) -> None:
        self.folder = folder
        self.token = token
        self.faults: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.elsewhere = ""

    def next_fault(self) -> str:
        with self.lock:
            return self.faults.pop(0) if self.faults else ""

    def find(self, repository: str, revision: str) -> Path | None:
        path = self.folder / repository / revision
        return path.resolve() if path.is_dir() else None


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    files: bool  # whether it is the other host, which has the files
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        length = int(self.headers["Content-Length"])
        self.hub.faults = json.loads(self.rfile.read(length))
        self._json(200, {})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/control":
            return self._json(200, self.hub.asked)
        with self.hub.lock:
            token = "Authorization" in self.headers
            self.hub.asked.append(
                {"path": self.path, "token": token, "range": self.headers.get("Range"), "files": self.files}
            )
        if self.files:
            return self._file(parts.path, parse_qs(parts.query))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", parts.path):
            return self._repository(match[1], match[2] or "main")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", parts.path):
            return self._tree(match[1], match[2])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path):
            return self._resolve(match[1], match[2], match[3])
        return self._json(404, {"error": "Not found"})

    def _allowed(self, repository: str) -> bool:
        if "/gated-" not in repository or self.headers.get("Authorization") == f"Bearer {self.hub.token}":
            return True
        self._json(401, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        return False

    def _repository(self, repository: str, revision: str) -> None:
        if not (self.hub.folder / repository).is_dir():
            return self._json(401, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
        if not self._allowed(repository):
            return None
        folder = self.hub.find(repository, revision)
        if folder is None:
            return self._json(404, {"error": "none"}, {"X-Error-Code": "RevisionNotFound"})
        siblings = [
            {
                "rfilename": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size,
                "blobId": _blob(path),
                **(
                    {"lfs": {"size": path.stat().st_size, "sha256": _sha256(path), "pointerSize": 134}}
                    if _is_large(path)
                    else {}
                ),
            }
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        return self._json(
            200,
            {
                "id": repository,
                "modelId": repository,
                "sha": folder.name,
                "siblings": siblings,
                "private": False,
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
            },
        )

    def _tree(self, repository: str, revision: str) -> None:
        folder = self.hub.find(repository, revision)
        if not self._allowed(repository) or folder is None:
            return None if folder else self._json(404, {"error": "none"}, {"X-Error-Code": "RevisionNotFound"})
        files = [(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()]
        return self._json(
            200,
            [
                {
                    "type": "file",
                    "path": name,
                    "size": path.stat().st_size,
                    "oid": _blob(path),
                    **(
                        {"lfs": {"oid": _sha256(path), "size": path.stat().st_size, "pointerSize": 134}}
                        if _is_large(path)
                        else {}
                    ),
                }
                for name, path in files
            ],
        )

    def _resolve(self, repository: str, revision: str, file: str) -> None:
        if not self._allowed(repository):
            return None
        folder = self.hub.find(repository, revision)
        if folder is None or not (folder / file).is_file():
            return self._json(404, {"error": "none"}, {"X-Error-Code": "EntryNotFound"})
        path = folder / file
        if not _is_large(path):
            return self._whole(path, {"X-Repo-Commit": folder.name, "ETag": f'"{_blob(path)}"'})
        until = time.time() + _GOOD_SECONDS
        self.send_response(302)
        self.send_header("Location", f"{self.hub.elsewhere}/{repository}/{folder.name}/{file}?until={until}")
        self.send_header("X-Repo-Commit", folder.name)
        self.send_header("X-Linked-Etag", f'"{_sha256(path)}"')
        self.send_header("X-Linked-Size", str(path.stat().st_size))
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _file(self, path: str, query: dict[str, list[str]]) -> None:
        if float(query.get("until", ["0"])[0]) < time.time():
            return self._json(403, {"error": "expired"})
        fault = self.hub.next_fault()
        if fault in ("429", "500"):
            return self._json(int(fault), {"error": fault}, {"Retry-After": "0"})
        if fault == "gone":
            return self._json(404, {})
        content = (self.hub.folder / path.lstrip("/")).read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        begin, end = int(match[1]) if match else 0, len(content)
        if match and match[2]:
            end = min(int(match[2]) + 1, end)
        if begin >= max(end, 1):
            return self._json(416, {})
        part = content[begin:end]
        if fault == "other":
            part = bytes(len(part))
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content) + (fault == 'long')}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if fault in ("cut", "hang"):
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            if fault == "hang":
                threading.Event().wait(600)
            self.close_connection = True
            return None
        with contextlib.suppress(OSError):
            self.wfile.write(part)
        return None

    def _whole(self, path: Path, headers: dict[str, str]) -> None:
        content = path.read_bytes()
        if self.hub.faults[:1] == ["changed"]:
            content = bytes(len(content))
        self.send_response(200)
        for name, text in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(content)

    def _json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _is_large(path: Path) -> bool:
    """Whether git has a pointer in its place (LFS)."""
    return path.suffix in (".gguf", ".safetensors", ".bin")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _blob(path: Path) -> str:
    """What git calls its content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def main() -> None:
    hub = Hub(Path(sys.argv[1]), sys.argv[2])
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), type("Files", (_Handler,), {"hub": hub, "files": True}))
    front = ThreadingHTTPServer(("127.0.0.1", 0), type("Front", (_Handler,), {"hub": hub, "files": False}))
    hub.elsewhere = f"http://localhost:{elsewhere.server_address[1]}"
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{front.server_address[1]}", flush=True)  # noqa: T201
    front.serve_forever()


if __name__ == "__main__":
    main()
