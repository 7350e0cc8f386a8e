"""A declared check as a probe of a container.

Who runs containers asks less than `deploy` does: an HTTP probe passes on 200 to 399 whatever the body says. A check
that cannot be asked exactly is not made weaker in silence: the next one is taken, or the port alone, and the file says
so.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Literal

from provision.manifests.containers import Containers
from provision.manifests.value import Value
from provision.project.checks import Check
from provision.project.parts import Ask, Probes

_PERIOD = 5  # seconds between attempts once it has started
_STARTUP_PERIOD = 10  # at most, until it has: what fails at once, as nobody listens yet, is soon asked again


@dataclass(frozen=True)
class Timing:
    """How often something is asked, in seconds, and how many failures in a row count."""

    delay: int
    period: int
    attempt_seconds: int
    failures: int


_ALIVE = Timing(delay=0, period=10, attempt_seconds=5, failures=6)  # a minute without an answer


@dataclass(frozen=True)
class Probe:
    """How a service is asked."""

    kind: Literal["http", "tcp", "exec"]
    path: Value | None  # http
    command: tuple[Value, ...]  # exec
    startup: Timing  # until it has passed once
    readiness: Timing
    liveness: Timing
    liveness_asks: Literal["check", "port"]
    health: Timing  # of Docker: `delay` is how long failures do not count


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
            return _probe(service.probes, "exec", check, command=words), beyond
        if service.port:
            return _probe(service.probes, "http", check, path=words[0]), beyond
    if service.port is None:
        return None, beyond
    return _probe(service.probes, "tcp", next(iter(service.every_check), Check())), beyond


def asks_in_python(asked: Probe, port: int | None) -> str:
    """A program that fails where the service does not answer; for http and tcp."""
    if asked.path is None:
        return f'import socket; socket.create_connection(("127.0.0.1", {port}))'
    return f"import urllib.request; urllib.request.urlopen({json.dumps(url(asked, port), ensure_ascii=False)})"


def url(asked: Probe, port: int | None) -> str:
    """What an http probe asks for, from inside the container."""
    return f"http://127.0.0.1:{port}{asked.path.text if asked.path else ''}"


def _probe(
    said: Probes,
    kind: Literal["http", "tcp", "exec"],
    check: Check,
    path: Value | None = None,
    command: tuple[Value, ...] = (),
) -> Probe:
    attempt = max(1, math.ceil(check.attempt_timeout))
    period = max(_PERIOD, attempt) if kind == "exec" else _PERIOD  # programs are started each time
    until_started = min(period, _STARTUP_PERIOD)
    startup = max(1, math.ceil(check.timeout / until_started))
    alive = said.liveness or Ask()
    asks = said.liveness.asks if said.liveness else "port"
    return Probe(
        kind,
        path,
        command,
        startup=Timing(0, until_started, attempt, startup),
        readiness=_timing(said.readiness, Timing(0, period, attempt, 3)),
        liveness=_timing(alive, replace(_ALIVE, attempt_seconds=attempt) if asks == "check" else _ALIVE),
        liveness_asks=asks,
        health=_timing(said.health, Timing(until_started * startup, period, attempt, 3)),
    )


def _timing(said: Ask, usual: Timing) -> Timing:
    """In whole seconds, which is all that they take; 0 is no time between two attempts."""
    return Timing(
        delay=usual.delay if said.delay is None else math.ceil(said.delay),
        period=math.ceil(said.period or usual.period),
        attempt_seconds=math.ceil(said.timeout or usual.attempt_seconds),
        failures=said.failures or usual.failures,
    )
