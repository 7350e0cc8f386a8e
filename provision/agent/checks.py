"""Probes that must pass: http, tcp, command, completion.

Run on the host inside a transaction, and from a laptop through a tunnel by `deploy smoke`; the same code, so that both
mean the same. A check passes when it has passed `passes` times in a row before its time is up: one lucky answer of a
process that is about to die is no proof.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple

BODY_LIMIT = 1 << 20  # bytes of an answer that are looked at
OUTPUT_LIMIT = 2000  # characters of a command's output that are kept

Check = Dict[str, Any]


class Failed(Exception):
    """One attempt did not pass; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of one check.

    `attempts` holds each different answer with how often it came in a row, in order: `("HTTP 503 Loading model", 58)`.
    """

    name: str
    passed: bool
    seconds: float
    attempts: Tuple[Tuple[str, int], ...] = ()
    facts: Dict[str, Any] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        if self.passed:
            return f"{self.name} passed in {self.seconds:.1f} s"
        tries = ", ".join(text if count == 1 else f"{text}, {count} times" for text, count in self.attempts[-3:])
        return f"{self.name} did not pass in {self.seconds:.0f} s ({tries or 'never tried'})"


def event(outcome: Outcome, program: str) -> Dict[str, Any]:
    """The event that tells of an outcome."""
    return {
        "event": "check",
        "program": program,
        "check": outcome.name,
        "passed": outcome.passed,
        "seconds": round(outcome.seconds, 3),
        "attempts": [list(item) for item in outcome.attempts],
        "facts": outcome.facts,
    }


def prove(
    check: Check,
    working_directory: str = "/",
    watch: Optional[Callable[[], None]] = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    token: str = "",
) -> Outcome:
    """Repeat `check` until it passed often enough in a row, or its time is up.

    `watch` is called before each attempt and may raise to stop early (the process died, Ctrl-C). `token` is sent as a
    bearer token, and never told again: where an answer repeats it, that is taken out.
    """
    began = clock()
    deadline = began + check["timeout"]
    attempts: List[Tuple[str, int]] = []
    facts: Dict[str, Any] = {}
    row = 0
    pause = 0.02  # services are often up sooner than `interval`; grow towards it
    while True:
        if watch is not None:
            watch()
        left = deadline - clock()
        if left <= 0:
            return Outcome(check["name"], False, clock() - began, tuple(attempts), facts)
        try:
            facts = attempt(check, min(check["attempt_timeout"], max(left, 0.1)), working_directory, token)
            row += 1
            text = "passed"
        except Failed as failure:
            row = 0
            text = str(failure)
        if attempts and attempts[-1][0] == text:
            attempts[-1] = (text, attempts[-1][1] + 1)
        else:
            attempts.append((text, 1))
        if row >= check["passes"]:
            return Outcome(check["name"], True, clock() - began, tuple(attempts), facts)
        sleep(min(check["interval"], pause))
        pause *= 1.5


def attempt(check: Check, timeout: float, working_directory: str = "/", token: str = "") -> Dict[str, Any]:
    """One attempt; facts worth keeping (status, tokens per second).

    Raises:
        Failed: it did not pass.
    """
    if check["kind"] == "http":
        return _http(check, timeout, token)
    if check["kind"] == "completion":
        return _completion(check, timeout, token)
    return {"tcp": _tcp, "command": _command}[check["kind"]](check, timeout, working_directory)


def _request(
    url: str, timeout: float, token: str, method: str = "GET", body: Optional[bytes] = None
) -> Tuple[http.client.HTTPResponse, bytes]:
    parts = urllib.parse.urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    headers = {"User-Agent": "deploy-check", "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if token:
        if not re.fullmatch(r"[\x20-\x7e]+", token):
            raise Failed("its secret holds what no header can")
        headers["Authorization"] = "Bearer " + token
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read(BODY_LIMIT)
        return response, content.replace(token.encode("ascii"), b"<its secret>") if token else content
    except ConnectionRefusedError:
        raise Failed("connection refused") from None
    except socket.timeout:
        raise Failed(f"no answer in {timeout:.0f} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{type(error).__name__}: {error}".rstrip(": ")) from None
    finally:
        connection.close()


def _http(check: Check, timeout: float, token: str) -> Dict[str, Any]:
    response, body = _request(check["url"], timeout, token)
    text = body.decode("utf-8", "replace")
    if response.status not in check["status"]:
        raise Failed(f"HTTP {response.status} {_gist(text)}".rstrip())
    pattern = check.get("body")
    if pattern and not re.search(pattern, text):
        raise Failed(f"HTTP {response.status}, but the body does not match {pattern!r}: {_gist(text)}")
    for name, wanted in check.get("headers", {}).items():
        got = response.getheader(name)
        if got is None or not re.search(wanted, got):
            raise Failed(f"header {name} is {got!r}, expected a match of {wanted!r}")
    return {"status": response.status}


def _gist(text: str) -> str:
    """What a person would quote of an answer: the message of a JSON error, else its first words."""
    try:
        value = json.loads(text)
        error = value.get("error", value)
        message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        if isinstance(message, str):
            return message[:120]
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:120]


def _tcp(check: Check, timeout: float, _: str) -> Dict[str, Any]:
    try:
        with socket.create_connection((check["host"], check["port"]), timeout):
            return {}
    except ConnectionRefusedError:
        raise Failed("connection refused") from None
    except socket.timeout:
        raise Failed(f"no connection in {timeout:.0f} s") from None
    except OSError as error:
        raise Failed(str(error)) from None


def _command(check: Check, timeout: float, working_directory: str) -> Dict[str, Any]:
    try:
        done = subprocess.run(
            check["argv"],
            cwd=working_directory,
            env=check.get("env") or None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"did not end in {timeout:.0f} s") from None
    except OSError as error:
        raise Failed(f"could not start: {error.strerror or error}") from None
    output = done.stdout.decode("utf-8", "replace")[-OUTPUT_LIMIT:].strip()
    if done.returncode != 0:
        raise Failed(f"exit status {done.returncode}: {output.splitlines()[-1] if output else 'no output'}")
    return {"output": output}


def _completion(check: Check, timeout: float, token: str) -> Dict[str, Any]:
    """Ask llama-server (or anything with its `POST /completion`) for tokens and demand some.

    llama.cpp, tools/server/README.md: the answer holds `content`, `tokens_predicted` and `timings`.
    """
    prompt = {"prompt": check["prompt"], "n_predict": check["tokens"], "temperature": 0.0, "cache_prompt": False}
    began = time.monotonic()
    url = check["url"].rstrip("/") + "/completion"
    response, body = _request(url, timeout, token, "POST", json.dumps(prompt).encode("utf-8"))
    latency = time.monotonic() - began
    text = body.decode("utf-8", "replace")
    if response.status != 200:
        raise Failed(f"HTTP {response.status} {_gist(text)}".rstrip())
    try:
        answer = json.loads(text)
        tokens = int(answer.get("tokens_predicted", 0))
        speed = float(answer.get("timings", {}).get("predicted_per_second", 0.0) or tokens / max(latency, 1e-6))
    except (ValueError, AttributeError, TypeError):
        raise Failed(f"the answer is not a completion: {_gist(text)}") from None
    if tokens < 1:
        raise Failed("the model predicted no token")
    if speed < check.get("min_tokens_per_second", 0.0):
        raise Failed(f"{speed:.1f} tokens/s, below the {check['min_tokens_per_second']:g} that are demanded")
    return {
        "tokens": tokens,
        "tokens_per_second": round(speed, 2),
        "latency_seconds": round(latency, 4),
        "content": str(answer.get("content", ""))[:400],
    }
