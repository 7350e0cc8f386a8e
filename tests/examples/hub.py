"""A stand-in for the model hub, on loopback: what `huggingface_hub` asks of it, and what goes wrong there.

    GET  /api/models/OWNER/NAME/revision/COMMIT     which commit that is
    GET  /api/models/OWNER/NAME/tree/COMMIT         the files, with sizes
    HEAD /OWNER/NAME/resolve/COMMIT/FILE            X-Repo-Commit, ETag, Content-Length
    GET  /OWNER/NAME/resolve/COMMIT/FILE            the bytes; from where they broke off, with Range

`main` is the commit that was published last. What is not there is 404, and X-Error-Code says which part of the name
it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.examples.serving import served

_ASKED = re.compile(r"/(?:api/models/)?([\w.-]+/[\w.-]+)/(tree|resolve|revision)/([^/?]+)/?([^?]*)")
CHAT = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"


@dataclass
class Hub:
    """Files by repository and commit, and the faults to come: for each, the next answers whose path ends in it."""

    port: int = 0
    repositories: dict[tuple[str, str], Mapping[str, bytes]] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)  # how a request begins, and 429, 503 or "cut"
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def publish(self, name: str, files: Mapping[str, bytes]) -> str:
        """`name@COMMIT`, as it is declared."""
        commit = hashlib.sha1(json.dumps({key: value.hex() for key, value in files.items()}).encode()).hexdigest()
        self.repositories[name, commit] = files
        return f"{name}@{commit}"

    def fault(self, request: str) -> str:
        """What goes wrong with `request`; each fault once."""
        for fault in self.faults:
            if re.match(fault[0], request):
                self.faults.remove(fault)
                return fault[1]
        return ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        request = f"{self.command} {self.path}"
        self.hub.asked.append(request)
        if (fault := self.hub.fault(request)) in ("429", "503"):
            return self._answer(int(fault), b"", {"Retry-After": "0"})
        asked = _ASKED.match(self.path)
        name, kind, commit, file = asked.groups() if asked else ("", "", "", "")
        if commit == "main":
            commit = next((newest for other, newest in reversed(self.hub.repositories) if other == name), "")
        files = self.hub.repositories.get((name, commit))
        if files is None:
            known = any(name == other for other, _ in self.hub.repositories)
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"})
        if kind == "revision":
            return self._answer(200, json.dumps({"id": name, "sha": commit, "siblings": []}).encode(), {})
        if kind == "tree":
            listed = [{"type": "file", "path": path, "size": len(body), "oid": path} for path, body in files.items()]
            return self._answer(200, json.dumps(listed).encode(), {})
        if file not in files:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        return self._file(files[file], commit, cut=fault == "cut")

    def _file(self, body: bytes, commit: str, *, cut: bool) -> None:
        said = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(start[1]) if start else 0
        if start:
            said["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        self._answer(206 if start else 200, body[first:], said, sent=(len(body) - first) // 2 if cut else None)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str], sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        if sent is not None:
            self.close_connection = True


@contextmanager
def hub() -> Iterator[Hub]:
    """One that runs, and holds nothing yet."""
    made = Hub()
    with served(type("Handler", (_Handler,), {"hub": made})) as made.port:
        yield made


def tokenizer(text: str) -> dict[str, bytes]:
    """The files of a small one, whose words are those of `text`."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator([text] * 3, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT}
    return {
        "tokenizer.json": made.to_str().encode(),
        "tokenizer_config.json": json.dumps(config).encode(),
        "model.safetensors": b"weights that nobody needs to count tokens",
    }
