"""A package index on loopback (PEP 503): what it holds, what it lacks, and what it does to who asks."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
import ssl
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

STALLED_SECONDS = 60


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass
class Release:
    """One file of the index, and what its page says of it."""

    file: str
    content: bytes
    yanked: bool = False
    sent: bytes = b""  # instead of what the page promises

    @property
    def project(self) -> str:
        return normal(self.file.split("-")[0])


@dataclass
class Index:
    """A running one. Requests are in `asked`; a file in `stalled` is begun, and ended when it is `resumed`."""

    releases: dict[str, Release] = field(default_factory=dict)
    credentials: str = ""
    stalled: str = ""
    asked: list[str] = field(default_factory=list)
    began: threading.Event = field(default_factory=threading.Event)
    resumed: threading.Event = field(default_factory=threading.Event)
    host: str = ""
    scheme: str = "http"

    def add(self, *releases: Release) -> None:
        self.releases |= {release.file: release for release in releases}

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}/simple"

    @property
    def with_credentials(self) -> str:
        return self.url.replace("://", f"://{self.credentials}@")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def index(self) -> Index:
        return cast(_Server, self.server).index

    def do_GET(self) -> None:
        path = self.path
        if "://" in path:  # as a proxy is asked
            path = "/" + path.split("/", 3)[3]
        self.index.asked.append(path)
        if self.index.credentials and not self._allowed():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.startswith("/simple/"):
            self._page(path.removeprefix("/simple/").strip("/"))
        else:
            self._file(self.index.releases.get(path.removeprefix("/files/")))

    do_HEAD = do_GET  # noqa: N815

    def _allowed(self) -> bool:
        wanted = base64.b64encode(self.index.credentials.encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _page(self, project: str) -> None:
        lines = []
        for release in self.index.releases.values():
            if release.project == normal(project):
                digest = hashlib.sha256(release.content).hexdigest()
                yanked = ' data-yanked="it has a flaw"' if release.yanked else ""
                file = html.escape(release.file)
                lines.append(f'<a href="/files/{file}#sha256={digest}"{yanked}>{file}</a><br>')
        body = f"<!DOCTYPE html><html><body>{''.join(lines)}</body></html>".encode()
        self._send(200 if lines else 404, "text/html", body)

    def _file(self, release: Release | None) -> None:
        if release is None:
            self._send(404, "text/plain", b"")
            return
        content = release.sent or release.content
        if release.file == self.index.stalled:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:100])
            self.wfile.flush()
            self.index.began.set()
            if self.index.resumed.wait(STALLED_SECONDS):
                self.wfile.write(content[100:])
            self.close_connection = True
            return
        self._send(200, "application/octet-stream", content)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, index: Index) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.index = index

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked may be gone: some tests end it."""


@contextmanager
def serving(index: Index, certificate: Path | None = None) -> Iterator[Index]:
    """Serve it on a port of its own; with a certificate (and its key, in one file) over TLS."""
    server = _Server(index)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        index.scheme = "https"
    index.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield index
    finally:
        index.resumed.set()
        server.shutdown()
        server.server_close()
        thread.join()


def wheel(name: str, version: str, *, code: str = "", metadata: str = "") -> Release:
    """A wheel of one module, the same bytes each time."""
    stem = normal(name).replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    files = {
        f"{stem}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return Release(f"{stem}-{version}-py3-none-any.whl", content.getvalue())


def sdist(name: str, version: str) -> Release:
    """A source distribution whose build backend does nothing but fail."""
    stem = f"{normal(name).replace('-', '_')}-{version}"
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"raise SystemExit('{stem} was built')\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{stem}/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return Release(f"{stem}.tar.gz", content.getvalue())


def of_tomorrow(name: str, version: str) -> list[Release]:
    """Two newer releases, neither of which anybody is to have: a wheel that cannot be imported, and an sdist."""
    first = int(re.match(r"\d+", version)[0])  # type: ignore[index]
    return [
        wheel(name, f"{first + 1}.0", code=f"raise SystemExit('{name} of tomorrow')\n"),
        sdist(name, f"{first + 2}.0"),
    ]
