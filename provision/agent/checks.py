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
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Tuple

from . import commands
from .masks import Masks
from .sockets import Bearer, Guarded, NotTaken, Withheld

if TYPE_CHECKING:
    from ..contract.checks import CheckDocument, CommandCheck, CompletionCheck, HttpCheck, TcpCheck
    from ..contract.events import Checked, Facts

BODY_LIMIT = 1 << 20  # bytes of an answer that are looked at
OUTPUT_LIMIT = 2000  # characters of a command's output that are kept


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
    facts: Facts = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        if self.passed:
            return f"{self.name} passed in {self.seconds:.1f} s"
        tries = ", ".join(text if count == 1 else f"{text}, {count} times" for text, count in self.attempts[-3:])
        return f"{self.name} did not pass in {self.seconds:.0f} s ({tries or 'never tried'})"


def event(outcome: Outcome, program: str) -> Checked:
    """The event that tells of an outcome."""
    return {
        "event": "check",
        "program": program,
        "check": outcome.name,
        "passed": outcome.passed,
        "seconds": round(outcome.seconds, 3),
        "attempts": list(outcome.attempts),
        "facts": outcome.facts,
    }


def prove(
    check: CheckDocument,
    working_directory: str = "/",
    watch: Optional[Callable[[], None]] = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    bearer: Optional[Bearer] = None,
) -> Outcome:
    """Repeat `check` until it passed often enough in a row, or its time is up.

    `watch` is called before each attempt and may raise to stop early (the process died, Ctrl-C). The secret of `bearer`
    goes to its own program alone, and is never told again: where an answer repeats it, that is taken out.
    """
    began = clock()
    deadline = began + check["timeout"]
    attempts: List[Tuple[str, int]] = []
    facts: Facts = {}
    row = 0
    pause = 0.02  # services are often up sooner than `interval`; grow towards it
    while True:
        if watch is not None:
            watch()
        left = deadline - clock()
        if left <= 0:
            return Outcome(check["name"], False, clock() - began, tuple(attempts), facts)
        try:
            facts = attempt(check, min(check["attempt_timeout"], max(left, 0.1)), working_directory, bearer)
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


def attempt(
    check: CheckDocument, timeout: float, working_directory: str = "/", bearer: Optional[Bearer] = None
) -> Facts:
    """One attempt; facts worth keeping (status, tokens per second).

    Raises:
        Failed: it did not pass.
    """
    if check["kind"] == "http":
        return _http(check, timeout, bearer)
    if check["kind"] == "completion":
        return _completion(check, timeout, bearer)
    if check["kind"] == "tcp":
        return _tcp(check, timeout)
    return _command(check, timeout, working_directory)


class _GuardedTLS(Guarded, http.client.HTTPSConnection):
    """The same over TLS."""


def _request(
    url: str, timeout: float, bearer: Optional[Bearer], method: str = "GET", body: Optional[bytes] = None
) -> Tuple[int, str, Dict[str, str]]:
    """Status, text and headers of the answer. A redirection is an answer like another: no secret goes on to it."""
    parts = urllib.parse.urlsplit(url)
    connect = _GuardedTLS if parts.scheme == "https" else Guarded
    connection = connect(parts.hostname or "127.0.0.1", parts.port, timeout, bearer)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    headers = {"User-Agent": "deploy-check", "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if bearer and not re.fullmatch(r"[\x20-\x7e]+", bearer.value):
        raise Failed("its secret holds what no header can")
    masks = Masks([("its secret", bearer.value)] if bearer else [])
    try:
        response = connection.ask(method, path, body, headers)
        content = response.read(BODY_LIMIT).decode("utf-8", "replace")
    except Withheld as why:
        way = 'ask the service\'s own port (http = "/health"), or leave the token out'
        raise Failed(f"{why}; {way}") from None
    except NotTaken as why:
        raise Failed(str(why)) from None
    except ConnectionRefusedError:
        raise Failed("connection refused") from None
    except socket.timeout:
        raise Failed(f"no answer in {timeout:.0f} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise Failed(masks.mask(f"{type(error).__name__}: {error}".rstrip(": "))) from None
    finally:
        connection.close()
    told = {name.lower(): masks.mask(response.getheader(name) or "") for name in response.headers}
    return response.status, masks.mask(content), told


def _http(check: HttpCheck, timeout: float, bearer: Optional[Bearer]) -> Facts:
    status, text, headers = _request(check["url"], timeout, bearer)
    if status not in check["status"]:
        raise Failed(f"HTTP {status} {_gist(text)}".rstrip())
    pattern = check.get("body")
    if pattern and not re.search(pattern, text):
        raise Failed(f"HTTP {status}, but the body does not match {pattern!r}: {_gist(text)}")
    for name, wanted in check.get("headers", {}).items():
        got = headers.get(name.lower())
        if got is None or not re.search(wanted, got):
            raise Failed(f"header {name} is {got!r}, expected a match of {wanted!r}")
    return {"status": status}


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


def _tcp(check: TcpCheck, timeout: float) -> Facts:
    try:
        with socket.create_connection((check["host"], check["port"]), timeout):
            return {}
    except ConnectionRefusedError:
        raise Failed("connection refused") from None
    except socket.timeout:
        raise Failed(f"no connection in {timeout:.0f} s") from None
    except OSError as error:
        raise Failed(str(error)) from None


def _command(check: CommandCheck, timeout: float, working_directory: str) -> Facts:
    """What it starts ends with it: a check leaves nothing behind."""
    try:
        ended = commands.run(check["argv"], timeout, cwd=working_directory, env=check.get("env") or None)
    except OSError as error:
        raise Failed(f"could not start: {error.strerror or error}") from None
    if ended.late:
        raise Failed(f"did not end in {timeout:.0f} s")
    output = _end_of(ended.output.decode("utf-8", "replace")).strip()
    if ended.status != 0:
        raise Failed(f"exit status {ended.status}: {output.splitlines()[-1] if output else 'no output'}")
    return {"output": output}


def _end_of(text: str) -> str:
    """Its last lines, each as a whole: who takes secrets out of them would not know the end of one."""
    if len(text) <= OUTPUT_LIMIT:
        return text
    torn, _, lines = text[-OUTPUT_LIMIT:].partition("\n")
    return lines if lines.strip() else f"… (its last line has more than {len(torn)} characters)"


def _completion(check: CompletionCheck, timeout: float, bearer: Optional[Bearer]) -> Facts:
    """Ask llama-server (or anything with its `POST /completion`) for tokens and demand some.

    llama.cpp, tools/server/README.md: the answer holds `content`, `tokens_predicted` and `timings`.
    """
    prompt = {"prompt": check["prompt"], "n_predict": check["tokens"], "temperature": 0.0, "cache_prompt": False}
    began = time.monotonic()
    url = check["url"].rstrip("/") + "/completion"
    status, text, _ = _request(url, timeout, bearer, "POST", json.dumps(prompt).encode("utf-8"))
    latency = time.monotonic() - began
    if status != 200:
        raise Failed(f"HTTP {status} {_gist(text)}".rstrip())
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
