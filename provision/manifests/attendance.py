"""What is waited for besides starting a program: until it is ready, and until it is idle.

systemd has a place for both, `ExecStartPost=` and `ExecStop=`. There they are asked of the launcher, because it has
what the question takes: the secrets, and the account. Elsewhere the agent asks the second, before it stops a program.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from provision.manifests.places import LaneOnTarget
from provision.manifests.value import Value
from provision.project.service import Lane


@dataclass(frozen=True)
class Ready:
    """Answers with one of these statuses mean that it serves."""

    seconds: int
    port: int
    path: Value
    status: tuple[int, ...]


@dataclass(frozen=True)
class Idle:
    """All of these gauges at 0 mean that no request is in flight."""

    seconds: int
    port: int
    path: Value
    gauges: tuple[str, ...]
    token: str  # the secret to send as a bearer token; empty for none


def ready(places: LaneOnTarget, name: str) -> Ready | None:
    """How to see that service `name` serves; None where nothing is to be waited for.

    A program on trial is watched by the transaction that tries it, and supervisord has no place for the question.
    """
    service = places.project.services[name]
    port = places.port(name)
    if port is None or places.lane is Lane.CANDIDATE or not places.target.can.waits:
        return None
    for check in service.every_check:
        if check.page:
            path = places.value(check.page, f"services.{name}.check.http", name)
            return Ready(math.ceil(check.timeout), port, path, check.status)
    return None


def idle(places: LaneOnTarget, name: str) -> Idle | None:
    """How to see that no request to service `name` is in flight; None where nobody declared it."""
    service = places.project.services[name]
    port, metrics = places.port(name), service.metrics
    if port is None or metrics is None or not metrics.busy or not service.drain:
        return None
    path = Value(f"services.{name}.metrics.path", (metrics.path,))
    token = metrics.token if metrics.token and metrics.token in service.every_secret else ""
    return Idle(math.ceil(service.drain), port, path, metrics.busy, token)
