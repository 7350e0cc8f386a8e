"""Shows what a rented machine is worth, before it is kept.

Its first line of input says what is asked, as JSON (`contract.measured.Asked`). It answers in three lines: what costs
nothing to tell (`First`); after a second line of input, which ports it listens on (`Ports`), so that they can be tried
from outside; and what it measured (`Measured`). It listens until its input ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, List, Optional, Tuple

from .cuda import prove_gpus

if TYPE_CHECKING:
    from ...contract.measured import Asked, First, Measured, Ports

_LONGEST = 300  # seconds: it ends then, whoever waits for it
_BLOCK = 1 << 20
_WRITTEN = 32 * _BLOCK  # at once; a disk that does not clearly keep its promise is asked for more
_MOST_WRITTEN = 512 * _BLOCK
_WRITE_SECONDS = 10.0
_FETCHERS = 4  # one connection alone seldom fills a line
_FETCH_SECONDS = 6.0
_FETCHED = 2 << 30
_PATIENCE = 10.0  # seconds for one answer


def main() -> int:
    signal.alarm(_LONGEST)
    asked: Asked = json.loads(sys.stdin.readline())
    first: First = {
        "deployed": os.path.exists(os.path.join(asked["path"], ".deploy", "state.json")),
        "clock": time.time(),
        "machine": os.uname().machine,
        "missing": [tool for tool in asked["tools"] if shutil.which(tool) is None],
    }
    _tell(first)
    if not sys.stdin.readline():
        return 0
    _tell(_listen(asked["ports"], asked["nonce"].encode()))
    written, free = _write(asked["path"], asked["written"])
    downloaded, fault = _download(asked["download"]) if asked["download"] else (None, "")
    measured: Measured = {
        "features": _features(),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "free": free,
        "written": written,
        "downloaded": downloaded,
        "download_fault": fault,
        "gpus": prove_gpus() if asked["gpus"] else {"cuda": 0.0, "gpus": [], "fault": ""},
    }
    _tell(measured)
    sys.stdin.read()
    return 0


def _tell(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _listen(ports: List[int], said: bytes) -> Ports:
    """Say `said` to everybody who comes to one of them."""
    found: Ports = {"listening": [], "taken": []}
    for port in ports:
        try:
            listener = socket.create_server(("", port))
        except OSError:
            found["taken"].append(port)
            continue
        found["listening"].append(port)
        threading.Thread(target=_answer, args=(listener, said), daemon=True).start()
    return found


def _answer(listener: socket.socket, said: bytes) -> None:
    while True:
        visitor, _ = listener.accept()
        try:
            visitor.settimeout(_PATIENCE)
            visitor.sendall(said + b"\n")
        except OSError:
            pass  # whoever it was has gone
        finally:
            visitor.close()


def _write(path: str, promised: float) -> Tuple[float, int]:
    """Bytes a second that come to rest on the disk of `path`, and how many are free there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    space = os.statvfs(path)
    free = space.f_bavail * space.f_frsize
    block = os.urandom(_BLOCK)
    done, seconds = 0, 0.0
    with tempfile.TemporaryFile(dir=path) as file:
        while done < min(_MOST_WRITTEN, free // 2) and seconds < _WRITE_SECONDS:
            began = time.perf_counter()
            for _ in range(_WRITTEN // _BLOCK):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            seconds += time.perf_counter() - began
            done += _WRITTEN
            if done > 2 * promised * seconds:
                break
    return done / max(seconds, 1e-9), free


def _download(url: str) -> Tuple[Optional[float], str]:
    """Bits a second that come from there; None, and why, where nothing does."""
    counts, faults = [0] * _FETCHERS, [""] * _FETCHERS
    began = time.perf_counter()

    def fetch(number: int) -> None:
        try:
            with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310  (http alone, says the declaration)
                while time.perf_counter() - began < _FETCH_SECONDS and counts[number] < _FETCHED // _FETCHERS:
                    block = answer.read(_BLOCK // 16)
                    if not block:
                        break
                    counts[number] += len(block)
        except (OSError, ValueError) as failure:
            faults[number] = str(failure)

    fetchers = [threading.Thread(target=fetch, args=(number,), daemon=True) for number in range(_FETCHERS)]
    for each in fetchers:
        each.start()
    for each in fetchers:
        each.join(_FETCH_SECONDS + 2 * _PATIENCE)
    if not sum(counts):
        return None, next(filter(None, faults), "nothing came")
    return 8 * sum(counts) / (time.perf_counter() - began), ""


def _features() -> List[str]:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return value.split()
    return []
