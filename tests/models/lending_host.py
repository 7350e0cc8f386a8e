"""A host that fetches and lends a model, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from provision.agent.pieces import RECORD
from provision.contract.bringing import FetchModel
from provision.contract.layout import Layout
from provision.contract.lent import Lender, LendModel
from provision.targets.fleet import _certificate

PIECE = 1 << 20
CONTENT = b"".join(bytes([number]) * PIECE for number in range(1, 13)) + b"the end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SECRET = "a secret of this transfer"
ALL_PIECES = {index: CONTENT[index * PIECE : (index + 1) * PIECE] for index in range(13)}


_HOST = f"""
import json, sys
from provision.agent import pieces
pieces.PIECE = {4 * PIECE}  # of a small file a fourth
from provision.agent import download, fetch, lend
from provision.contract.failure import Failure
from provision.contract.layout import Layout
tell = lambda what: print(json.dumps(what), flush=True)
layout = Layout(sys.argv[1])
for line in sys.stdin:
    request = json.loads(line)
    try:
        if request["op"] == "lend-model":
            lending = lend.Lending(layout, request)
            tell(lending.answer())
        else:
            told = lambda event: None if event["event"] == "progress" else tell(event)
            tell(fetch.fetch(layout, request, told, lambda: None, lending))
    except Failure as failure:
        tell(failure.message())
"""


SLOW_STARTER = """
import threading, time
start = threading.Thread.start
def slowly(thread):
    start(thread)
    if threading.current_thread() is threading.main_thread():
        time.sleep(0.5)  # the other is further by then
threading.Thread.start = slowly
"""


def lend_request(host: str, limit: int = 0, mapped: Sequence[tuple[str, int]] = ()) -> LendModel:
    certificate, key = _certificate()
    return {
        "op": "lend-model",
        "sha256": SHA256,
        "name": "big.gguf",
        "bytes": len(CONTENT),
        "limit": limit,
        "host": host,
        "addresses": ["192.0.2.1", "127.0.0.1"],  # nobody is at the first
        "port": 0,
        "mapped": [*mapped],
        "secret": SECRET,
        "certificate": certificate,
        "key": key,
    }


class Host:
    """One that takes part, in a process of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.layout = name, Layout(str(folder / name))
        self.first = ""  # what it runs before anything

    @cached_property
    def process(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", self.first + _HOST, self.layout.root]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> None:
        if "process" in vars(self):
            self.process.kill()
            self.process.communicate()

    def lend(self, limit: int = 0, mapped: Sequence[tuple[str, int]] = ()) -> Lender:
        self.say(lend_request(self.name, limit, mapped))
        lender: Lender = {**self.hear()["lender"], "addresses": ["192.0.2.1", "127.0.0.1"]}
        return lender

    def has(self, pieces: dict[int, bytes], digests: dict[int, bytes] | None = None) -> None:
        """So much has arrived of it; what is written down of that may be of something else."""
        folder = Path(self.layout.incoming_model(SHA256))
        folder.mkdir(parents=True)
        with (folder / "big.gguf").open("wb") as file:
            for index, content in pieces.items():
                file.seek(index * PIECE)
                file.write(content)
        noted = {**pieces, **(digests or {})}
        lines = [f"{index} {hashlib.sha256(content).hexdigest()}" for index, content in noted.items()]
        (folder / RECORD).write_text("\n".join([f"{len(CONTENT)} {PIECE}", *lines, ""]))

    def fetch(self, url: str, lenders: list[Lender], limit: int = 0) -> None:
        request: FetchModel = {
            "op": "fetch-model",
            "sha256": SHA256,
            "name": "big.gguf",
            "bytes": len(CONTENT),
            "url": url,
            "authorization": "",
            "limit": limit,
            "source": "the Hub",
            "lenders": lenders,
        }
        self.say(request)

    def say(self, request: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]

    def ended(self) -> tuple[dict[str, Any], list[str]]:
        """The answer, and the warnings before it."""
        warned = []
        while (said := self.hear())["event"] == "warning":
            warned.append(said["text"])
        return said, warned

    @property
    def is_whole(self) -> bool:
        return Path(self.layout.model(SHA256), "big.gguf").read_bytes() == CONTENT
