"""How Docker asks a service whether it works: by a program inside its container.

What programs an image has is not known here. A check that is a command is one; for the others a shell takes the first
of curl, wget and python3 that is there. An image around one native binary may have no shell, so it brings a HEALTHCHECK
of its own.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from provision.manifests.containers import Containers
from provision.manifests.probes import Probe, asks_in_python, probe, url
from provision.manifests.value import Value


@dataclass(frozen=True)
class Health:
    """A health check."""

    test: tuple[Value, ...]  # empty: the image's own
    interval: int  # seconds between attempts
    attempt_seconds: int
    start_seconds: int  # how long failures do not count
    failures: int  # in a row, then it is unhealthy


def health(places: Containers, name: str) -> Health | None:
    """How Docker asks service `name`; None where there is nothing to ask."""
    service = places.project.services[name]
    asked, _ = (None, False) if service.batch else probe(places, name)
    if asked is None:
        return None
    return Health(
        test=(
            ()
            if asked.kind != "exec" and _is_around_a_binary(places, name)
            else _test(asked, service.port, f"services.{name}.check")
        ),
        interval=asked.health.period,
        attempt_seconds=asked.health.attempt_seconds,
        start_seconds=asked.health.delay,
        failures=asked.health.failures,
    )


def _is_around_a_binary(places: Containers, name: str) -> bool:
    """Whether its image holds a native program and perhaps no shell: one that other programs run in, too, has one."""
    services = places.project.services
    own = services[name].image or all(each.is_native or each.image for each in services.values())
    return bool(services[name].is_native and own)


def _test(asked: Probe, port: int | None, subject: str) -> tuple[Value, ...]:
    if asked.kind == "exec":
        return (Value(subject, ("CMD",)), *asked.command)
    where = url(asked, port)
    ways = (
        [["curl", "-fsSo", "/dev/null", where], ["wget", "-qO", "/dev/null", where]]
        if asked.kind == "http"
        else [["nc", "-z", "127.0.0.1", str(port)]]
    )
    ways.append(["python3", "-c", asks_in_python(asked, port)])
    return (Value(subject, ("CMD-SHELL",)), Value(subject, (" || ".join(map(shlex.join, ways)),)))
