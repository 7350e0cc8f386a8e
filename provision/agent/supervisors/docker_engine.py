"""Requests to the host's Docker Engine over its socket (API 1.41, which every engine since 20.10 speaks)."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any, BinaryIO, Callable, Dict, Optional, Sequence, Union

from ...contract.failure import FAILED, Failure
from ..sockets import cut_after
from .base import LOG_BYTES
from .unix_http import UnixConnection

Json = Dict[str, Any]  # an object, as the engine's interface has it

SOCKET = "/var/run/docker.sock"
_VERSION = "/v1.41"
_SECONDS = 60.0
_LARGEST = 64 << 20  # bytes of an answer: the list of all containers
_FRAME = 8  # bytes before each piece of a log: stream, three zeros, length


class NoAnswer(Failure):
    """The engine is not there, or ended while it was asked."""


def _whole(answer: http.client.HTTPResponse) -> bytes:
    content = answer.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise http.client.HTTPException(f"more than {_LARGEST >> 20} MiB")
    return content


def find(method: str, path: str) -> Optional[Json]:
    """As `ask`; None where there is no such thing, or it is in use."""
    found = ask(method, path, accept=(200, 204, 404, 409))
    return found if not isinstance(found, dict) or set(found) != {"message"} else None


def ask(
    method: str,
    path: str,
    body: Optional[Json] = None,
    accept: Sequence[int] = (200, 201, 204),
    seconds: float = _SECONDS,
) -> Any:
    """The answer to a request, as JSON says it.

    Raises:
        NoAnswer: nobody does.
        Failure: it has another status than those that are accepted, or comes too late.
        PermissionError: this account may not ask.
    """
    content = read(method, path, body, accept, seconds)
    try:
        return json.loads(content) if content else {}
    except (ValueError, RecursionError):
        return {}  # "OK", of a ping


def read(
    method: str,
    path: str,
    body: Union[Json, bytes, None] = None,
    accept: Sequence[int] = (200, 201, 204),
    seconds: float = _SECONDS,
    login: str = "",
    reader: Callable[[http.client.HTTPResponse], bytes] = _whole,
) -> bytes:
    """As `ask`, but the bytes.

    Args:
        body: bytes are an archive.
        login: X-Registry-Auth, which pulls need.
        reader: takes the answer, where it is accepted.
    """
    connection = UnixConnection(SOCKET, seconds)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        headers = {"Content-Type": kind} if data else {}
        if login:
            headers["X-Registry-Auth"] = login
        connection.connect()
        with cut_after(connection.sock, seconds):
            connection.request(method, _VERSION + path, data, headers)
            answer = connection.getresponse()
            content = reader(answer) if answer.status in accept else answer.read(LOG_BYTES)
    except (ConnectionError, FileNotFoundError) as error:
        why, what_now = f"{SOCKET}: {error}", "start docker there, then: deploy up"
        raise NoAnswer(FAILED, "the Docker Engine does not answer.", why, what_now) from None
    except http.client.HTTPException as error:
        raise Failure(FAILED, "the Docker Engine answered in a way that can't be read.", why=str(error)) from None
    except socket.timeout:
        raise Failure(FAILED, f"the Docker Engine did not answer in {seconds:.0f} s.") from None
    finally:
        connection.close()
    if answer.status not in accept:
        raise Failure(FAILED, f"the Docker Engine refused ({answer.status}): {_message(content)}")
    return content


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return content.decode("utf-8", "replace")[:300]


def last_words(content: bytes) -> str:
    """Why a pull failed: at once as a message, or on the way as the last line of its progress."""
    lines = [line for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
    try:
        last = json.loads(lines[-1])
        return str(last.get("error") or last.get("message") or "")
    except (ValueError, IndexError, AttributeError, RecursionError):
        return lines[-1][:300] if lines else ""


def last(answer: BinaryIO) -> bytes:
    """The last of an answer that tells how far something is."""
    text = b""
    while block := answer.read(LOG_BYTES):
        text = (text + block)[-LOG_BYTES:]
    return text


def frames(answer: BinaryIO) -> bytes:
    """The last of a log without the heads of its pieces (Engine API, "Attach", stream format).

    A line has no longest length, and a program may write faster than it is read.
    """
    text, until = b"", time.monotonic() + _SECONDS
    head = answer.read(_FRAME)
    while len(head) == _FRAME and time.monotonic() < until:
        left = int.from_bytes(head[4:], "big")
        while left > 0 and time.monotonic() < until:
            block = answer.read(min(left, LOG_BYTES))
            if not block:
                return text
            left -= len(block)
            text = (text + block)[-LOG_BYTES:]
        head = answer.read(_FRAME)
    return text
