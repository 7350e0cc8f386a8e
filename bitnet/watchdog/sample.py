"""One look at a llama-server over HTTP.

`/health` is answered by a thread of its own: 503 while the model loads, 200 after. `/metrics` is answered between two
decode steps, so it can be late on a busy server; a late answer is no answer, not an error.

`tokens_predicted_total` grows only when a request is done. What moves with every step is `n_decode_total`; all three
counters together are the sign of progress.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import socket
import threading
import urllib.parse
from dataclasses import dataclass
from enum import Enum

_PROGRESS = ("llamacpp:n_decode_total", "llamacpp:tokens_predicted_total", "llamacpp:prompt_tokens_total")
_LARGEST = 4 << 20  # bytes of an answer
_IN_FLIGHT = ("llamacpp:requests_processing", "llamacpp:requests_deferred")


class Health(Enum):
    """What `/health` said."""

    READY = "ready"
    LOADING = "loading"
    SILENT = "silent"  # no connection, no answer in time, or none that makes sense


@dataclass(frozen=True)
class Sample:
    """One look.

    Attributes:
        health: what `/health` said.
        in_flight: requests being worked on or waiting; None if `/metrics` gave no answer.
        progress: the counters that move while it works; None likewise.
        detail: what was wrong, in words.
    """

    health: Health
    in_flight: int | None = None
    progress: tuple[float, ...] | None = None
    detail: str = ""


def take_sample(url: str, timeout: float, api_key: str = "") -> Sample:
    """Look at the server at `url` (no trailing slash). Never raises.

    Args:
        timeout: seconds that one answer may take in all, however it comes.
    """
    status, text = _get(f"{url}/health", timeout, api_key)
    if status == 503:
        return Sample(Health.LOADING, detail=text)
    if status != 200:
        return Sample(Health.SILENT, detail=text if status is None else f"/health answered {status}")
    status, text = _get(f"{url}/metrics", timeout, api_key)
    if status != 200:
        return Sample(Health.READY, detail=f"/metrics: {text if status is None else status}")
    values = _values(text)
    if not values.keys() & set(_IN_FLIGHT):
        return Sample(Health.READY, detail="/metrics has no llamacpp: values")
    return Sample(
        Health.READY,
        in_flight=int(sum(values.get(name, 0) for name in _IN_FLIGHT)),
        progress=tuple(values.get(name, 0) for name in _PROGRESS),
    )


class _Bounded(http.client.HTTPResponse):
    def _safe_read(self, amt: int) -> bytes:
        if amt < 0:  # all that comes, to http.client: the size of a chunk is what the server says
            raise http.client.HTTPException("a chunk of a negative size")
        return super()._safe_read(amt)  # type: ignore[misc,no-any-return]


def _get(url: str, timeout: float, api_key: str) -> tuple[int | None, str]:
    """Status and body, or None and the reason."""
    parts = urllib.parse.urlsplit(url)
    # No proxy: the server is on this machine, whatever http_proxy says.
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    connection.response_class = _Bounded
    late = threading.Event()

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError):  # it is over already
            own.shutdown(socket.SHUT_RDWR)

    # A socket's own time-out begins anew with each byte that comes.
    timer = threading.Timer(timeout, cut)
    timer.daemon = True
    try:
        connection.connect()
        own = connection.sock
        timer.start()
        connection.request("GET", parts.path, headers={"Authorization": f"Bearer {api_key}"} if api_key else {})
        answer = connection.getresponse()
        content = answer.read(_LARGEST + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return None, "timed out" if late.is_set() else str(error)
    finally:
        timer.cancel()
        connection.close()
    if late.is_set():
        return None, "timed out"
    if len(content) > _LARGEST:
        return None, f"more than {_LARGEST >> 20} MiB, without an end"
    return answer.status, content.decode(errors="replace") if answer.status == 200 else answer.reason


def _values(text: str) -> dict[str, float]:
    """What llama.cpp's server counts; none where one of them is no number."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.strip().rpartition(" ")
        if name in (*_PROGRESS, *_IN_FLIGHT):
            try:
                found[name] = float(value)
            except ValueError:
                return {}
    return found if all(map(math.isfinite, found.values())) else {}
