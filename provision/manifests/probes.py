"""A declared check as a probe of a container.

Who runs containers asks less than `deploy` does: an HTTP probe passes on 200 to 399 whatever the body says. A check
that cannot be asked exactly is not made weaker in silence: the next one is taken, or the port alone, and the file says
so.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Literal

from provision.manifests.containers import Containers
from provision.manifests.value import Value
from provision.project.checks import Check

_PERIOD = 5  # seconds between attempts once it has started


@dataclass(frozen=True)
class Probe:
    """How a service is asked."""

    kind: Literal["http", "tcp", "exec"]
    path: Value | None  # http
    command: tuple[Value, ...]  # exec
    period: int  # seconds between attempts
    attempt_seconds: int
    startup_failures: int  # attempts until it must have passed


def probe(places: Containers, name: str) -> tuple[Probe | None, bool]:
    """How to ask service `name`, and whether it has checks that ask for more than that."""
    service = places.project.services[name]
    kinds = [(check, kind) for check in service.every_check for kind in check.kinds]
    beyond = any(kind.asks_more(check) for check, kind in kinds)
    for check, kind in kinds:
        asked = kind.in_container(check)
        if asked is None:
            continue
        how, texts = asked
        words = tuple(places.value(text, f"services.{name}.check.{kind.name}", name) for text in texts)
        if how == "exec":
            return _probe("exec", check, command=words), beyond
        if service.port:
            return _probe("http", check, path=words[0]), beyond
    if service.port is None:
        return None, beyond
    return _probe("tcp", next(iter(service.every_check), Check())), beyond


def asks_in_python(asked: Probe, port: int | None) -> str:
    """A program that fails where the service does not answer; for http and tcp."""
    if asked.path is None:
        return f'import socket; socket.create_connection(("127.0.0.1", {port}))'
    return f"import urllib.request; urllib.request.urlopen({json.dumps(url(asked, port), ensure_ascii=False)})"


def url(asked: Probe, port: int | None) -> str:
    """What an http probe asks for, from inside the container."""
    return f"http://127.0.0.1:{port}{asked.path.text if asked.path else ''}"


def _probe(
    kind: Literal["http", "tcp", "exec"], check: Check, path: Value | None = None, command: tuple[Value, ...] = ()
) -> Probe:
    attempt = max(1, math.ceil(check.attempt_timeout))
    period = max(_PERIOD, attempt) if kind == "exec" else _PERIOD  # programs are started each time
    return Probe(kind, path, command, period, attempt, max(1, math.ceil(check.timeout / period)))
