"""A registry that has the referrers route, as the OCI distribution specification 1.1 describes it.

    python -m tests.images.distribution CONFIG      the same file that docker-registry reads

No registry with that route comes in a package, so this one stands in for it. It keeps everything in memory, verifies
every digest, knows logins and TLS, and lists referrers in pages so that clients have to follow them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import sys
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import bcrypt

PAGE = 2  # referrers on one page
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INDEX = "application/vnd.oci.image.index.v1+json"
_NAME = r"/v2/(?P<name>[a-z0-9][a-z0-9._/-]*)"
_ROUTES = {
    "manifests": re.compile(_NAME + r"/manifests/(?P<reference>[^/]+)"),
    "uploads": re.compile(_NAME + r"/blobs/uploads/(?P<reference>[^/]*)"),
    "blobs": re.compile(_NAME + r"/blobs/(?P<reference>[^/]+)"),
    "referrers": re.compile(_NAME + r"/referrers/(?P<reference>[^/]+)"),
    "tags": re.compile(_NAME + r"/tags/list"),
}


@dataclass
class Held:
    """What one repository holds."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # digest -> media type, content
    tags: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """An answer that is no success (specification, "Error Codes")."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    held: dict[str, Held]
    uploads: dict[str, bytes]
    users: dict[str, bytes]
    lock: threading.Lock

    def _serve(self) -> None:
        body = self._body()
        self.url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(self.url.query, keep_blank_values=True).items()}
        try:
            self._authorize()
            if self.url.path in ("/v2", "/v2/"):
                return self._answer(200, b"{}")
            for route, pattern in _ROUTES.items():
                if found := pattern.fullmatch(self.url.path):
                    with self.lock:
                        return self._route(route, found.groupdict(), body)
            raise Refused(404, "UNSUPPORTED")
        except Refused as refusal:
            content = json.dumps({"errors": [{"code": refusal.code, "message": refusal.code.lower()}]}).encode()
            headers = {"WWW-Authenticate": 'Basic realm="a \\"quoted\\" realm"'} if refusal.status == 401 else {}
            return self._answer(refusal.status, content, **headers)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815  # names of http.server

    def _route(self, route: str, part: dict[str, str], body: bytes) -> None:
        verb = "get" if self.command == "HEAD" else self.command.lower()
        act = getattr(self, f"_{verb}_{route}", None)
        if act is None:
            raise Refused(405, "UNSUPPORTED")
        self.name, self.repository = part["name"], self.held.setdefault(part["name"], Held())
        act(part.get("reference", ""), body)

    # Blobs

    def _get_blobs(self, reference: str, _: bytes) -> None:
        if reference not in self.repository.blobs:
            raise Refused(404, "BLOB_UNKNOWN")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": reference}
        self._answer(200, self.repository.blobs[reference], **headers)

    def _delete_blobs(self, reference: str, _: bytes) -> None:
        self._delete(self.repository.blobs, reference)

    def _post_uploads(self, _: str, body: bytes) -> None:
        source, mounted = self.held.get(self.query.get("from", "")), self.query.get("mount", "")
        if source and mounted in source.blobs:
            self.repository.blobs[mounted] = source.blobs[mounted]
            self._created("blobs", mounted)
        elif "digest" in self.query:
            self._store(body)
        else:
            upload = uuid.uuid4().hex
            self.uploads[upload] = b""
            self._answer(202, b"", Location=f"/v2/{self.name}/blobs/uploads/{upload}?state=1")

    def _patch_uploads(self, upload: str, body: bytes) -> None:
        so_far = self._so_far(upload)
        start = self.headers.get("Content-Range", "").partition("-")[0]
        if start and int(start) != len(so_far):
            raise Refused(416, "BLOB_UPLOAD_INVALID")
        self.uploads[upload] = so_far + body
        where = f"/v2/{self.name}/blobs/uploads/{upload}?state=1"
        self._answer(202, b"", Location=where, Range=f"0-{len(self.uploads[upload]) - 1}")

    def _put_uploads(self, upload: str, body: bytes) -> None:
        self._store(self._so_far(upload) + body)
        del self.uploads[upload]

    def _so_far(self, upload: str) -> bytes:
        if upload not in self.uploads:
            raise Refused(404, "BLOB_UPLOAD_UNKNOWN")
        return self.uploads[upload]

    def _store(self, content: bytes) -> None:
        if self.query.get("digest") != digest(content):
            raise Refused(400, "DIGEST_INVALID")
        self.repository.blobs[digest(content)] = content
        self._created("blobs", digest(content))

    # Manifests

    def _get_manifests(self, reference: str, _: bytes) -> None:
        wanted = reference if ":" in reference else self.repository.tags.get(reference, "")
        if wanted not in self.repository.manifests:
            raise Refused(404, "MANIFEST_UNKNOWN")
        kind, content = self.repository.manifests[wanted]
        self._answer(200, content, **{"Content-Type": kind, "Docker-Content-Digest": wanted})

    def _delete_manifests(self, reference: str, _: bytes) -> None:
        self._delete(self.repository.manifests if ":" in reference else self.repository.tags, reference)

    def _put_manifests(self, reference: str, content: bytes) -> None:
        kind, document = self.headers.get("Content-Type", ""), _document(content)
        if ":" in reference and reference != digest(content):
            raise Refused(400, "DIGEST_INVALID")
        if document.get("mediaType", kind) != kind:
            raise Refused(400, "MANIFEST_INVALID")
        blobs = {item["digest"] for item in [*document.get("layers", []), document.get("config")] if item}
        parts = {item["digest"] for item in document.get("manifests", [])}
        if blobs - self.repository.blobs.keys() or parts - self.repository.manifests.keys():
            raise Refused(400, "MANIFEST_BLOB_UNKNOWN")
        self.repository.manifests[digest(content)] = (kind, content)
        if ":" not in reference:
            self.repository.tags[reference] = digest(content)
        subject = (document.get("subject") or {}).get("digest")
        self._created("manifests", digest(content), **({"OCI-Subject": subject} if subject else {}))

    def _get_tags(self, _: str, __: bytes) -> None:
        self._answer(200, json.dumps({"name": self.name, "tags": sorted(self.repository.tags)}).encode())

    def _get_referrers(self, subject: str, _: bytes) -> None:
        """Specification, "Listing Referrers": an index, empty where nothing points there; filtered, and in pages."""
        if not _DIGEST.fullmatch(subject):
            raise Refused(400, "DIGEST_INVALID")
        listed = [_descriptor(*manifest) for manifest in self.repository.manifests.values()]
        found = [item for of, item in listed if of == subject]
        headers = {"Content-Type": _INDEX}
        if wanted := self.query.get("artifactType"):
            found = [item for item in found if item.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        end = int(self.query.get("at", "0")) + PAGE
        if end < len(found):
            query = urlencode({**self.query, "at": str(end)})
            headers["Link"] = f'</v2/{self.name}/referrers/{subject}?{query}>; rel="next"'
        document = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": found[end - PAGE : end]}
        self._answer(200, json.dumps(document).encode(), **headers)

    def _delete(self, things: dict[str, Any], reference: str) -> None:
        if things.pop(reference, None) is None:
            raise Refused(404, "NAME_UNKNOWN")
        self._answer(202, b"")

    # HTTP

    def _authorize(self) -> None:
        if not self.users:
            return
        given = self.headers.get("Authorization", "")
        user, _, password = base64.b64decode(given.removeprefix("Basic ")).partition(b":")
        known = self.users.get(user.decode(errors="replace"))
        if not (given.startswith("Basic ") and known and bcrypt.checkpw(password, known)):
            raise Refused(401, "UNAUTHORIZED")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _created(self, kind: str, stored: str, **headers: str) -> None:
        where = f"/v2/{self.name}/{kind}/{stored}"
        self._answer(201, b"", **{"Location": where, "Docker-Content-Digest": stored} | headers)

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _document(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused(400, "MANIFEST_INVALID")
    return found


def _descriptor(kind: str, content: bytes) -> tuple[str, dict[str, Any]]:
    """What a manifest points at, and how the list of that shows it: with its type, or its config's, and annotations."""
    document = _document(content)
    artifact = document.get("artifactType") or (document.get("config") or {}).get("mediaType")
    shown = {"mediaType": kind, "digest": digest(content), "size": len(content), "artifactType": artifact}
    shown |= {"annotations": document.get("annotations")}
    return (document.get("subject") or {}).get("digest", ""), {key: value for key, value in shown.items() if value}


def main(config: Path) -> None:
    said = json.loads(config.read_text())
    host, _, port = said["http"]["addr"].rpartition(":")
    Handler.held, Handler.uploads, Handler.users, Handler.lock = {}, {}, {}, threading.Lock()
    if "auth" in said:
        lines = Path(said["auth"]["htpasswd"]["path"]).read_bytes().splitlines()
        Handler.users = {user.decode(): known for user, _, known in (line.partition(b":") for line in lines)}
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = True
    if tls := said["http"].get("tls"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls["certificate"], tls["key"])
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
