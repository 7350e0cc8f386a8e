"""A front as HAProxy's configuration (2.6 and later). Pure; whatever a user declared stands in it as a value.

The file says states and shares as well, so HAProxy's restart changes nothing. No health checks: who proves programs
says who is ready, and a check that found none would turn waiting requests into errors.
"""

from __future__ import annotations

import hashlib
from typing import Dict, Iterator, List

from ...contract.failure import REFUSED, Failure
from . import backends, binds, log, words
from .backends import bounds, lanes
from .values import DRAIN, HTTP, TCP, Backend, Front

_NOWHERE = "127.0.0.1"
HANDED_OVER = "handover.sock"


def render(front: Front) -> str:
    """The configuration of `front`.

    Raises:
        Failure: a value is none that HAProxy could hold, such as a name with a line break; or two belie each other.
    """
    return _text(front, structure(front))


def structure(front: Front) -> str:
    """A digest of all that needs a reload to change: fronts of one structure differ in states, shares and holding.

    Raises:
        Failure: as `render`.
    """
    return hashlib.sha256(_text(_still(front), "").encode()).hexdigest()


def _still(front: Front) -> Front:
    """The same structure, whatever happens in it."""
    still = tuple(
        each._replace(
            held=False,
            servers=tuple(server._replace(state=DRAIN, address=_NOWHERE, port=1) for server in each.servers),
            shares=tuple((lane, 0) for lane in lanes(each)),
        )
        for each in front.backends
    )
    return front._replace(backends=still)


def _text(front: Front, digest: str) -> str:
    by_name = _judged(front)
    told = [log.sections(front.user, backends.NOBODY)] if front.log else []
    sections = [_global(front, digest), _defaults(front), *told]
    first = {bind.port: bind for bind in reversed(front.binds)}
    sections += [
        binds.section(bind, by_name, front.user, front.log, is_first=first[bind.port] is bind) for bind in front.binds
    ]
    over_tls = {route.service for bind in front.binds if bind.certificates for route in bind.routes}
    sections += [backends.section(front.name, each, each.service in over_tls) for each in front.backends]
    sections += [_metrics(front)] if front.metrics else []
    head = (
        "# What runs now, written before it runs. By hand nothing is changed here: the next change writes all of it.\n"
    )
    return head + "\n".join("\n".join(section) + "\n" for section in sections)


def _global(front: Front, digest: str) -> Iterator[str]:
    yield "global"
    yield f"  description {words.name('digest', digest) if digest else '-'}"
    yield f"  nbthread {words.whole('threads', front.threads)}"
    yield f"  hard-stop-after {words.milliseconds(front.drain_seconds)}"
    yield "  fd-hard-limit 65536"  # of which connections are counted; a container's limit may be a thousand million
    yield "  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets"
    if front.user:
        yield f"  user {words.name('user', front.user)}"
        yield f"  group {words.name('group', front.group)}"
        if front.confined:
            yield f"  chroot {words.quoted('folder', front.folder)}"
    if front.hands_over:
        yield f"  stats socket unix@{HANDED_OVER} mode 600 level admin expose-fd listeners"
    if front.log:
        yield f"  log ring@{log.RING} format raw local0"
    for backend in front.backends:
        for variable, below in bounds(backend).items():
            yield f"  set-var {variable} int({below})"


def _defaults(front: Front) -> Iterator[str]:
    yield "defaults"
    yield "  option dontlognull"
    yield "  option abortonclose"  # whoever has left need not be held; frontends without it see that seconds later
    yield "  timeout http-request 30s"
    yield "  timeout http-keep-alive 75s"
    yield "  timeout client-fin 30s"
    if front.log:
        yield "  log global"


def _metrics(front: Front) -> Iterator[str]:
    """What it counts itself, for who is on the host."""
    yield "frontend metrics"
    yield "  mode http"
    yield f"  bind {_NOWHERE}:{words.whole('metrics', front.metrics)}"
    yield "  timeout client 30s"
    yield "  no log"
    yield "  http-request use-service prometheus-exporter if { path /metrics }"
    yield "  http-request return status 404"


def _judged(front: Front) -> Dict[str, Backend]:
    """The backends by service.

    Raises:
        Failure: what no front can be: two of one name, or a route to nobody.
    """
    _once("service", [each.service for each in front.backends])
    by_name = {each.service: each for each in front.backends}
    for backend in front.backends:
        _once(f"program of {backend.service}", [server.program for server in backend.servers])
    for bind in front.binds:
        for route in bind.routes:
            if bool(route.service) == bool(route.to_tls):
                raise Failure(
                    REFUSED, f"A route of port {bind.port} has to lead to a service or to TLS, to one of both."
                )
            if route.service and route.service not in by_name:
                raise Failure(
                    REFUSED, f"Port {bind.port} leads to {route.service!r}, which is no service of this front."
                )
        modes = {by_name[route.service].mode for route in bind.routes if route.service}
        if bind.unread and modes - {TCP}:
            raise Failure(REFUSED, f"Port {bind.port} is not read, so it leads to TCP services alone.")
        if not bind.unread and modes - {HTTP} and (len(bind.routes) != 1 or bind.routes[0].hosts or bind.certificates):
            raise Failure(REFUSED, f"Port {bind.port} leads to a TCP service, so it can lead to nobody else.")
    return by_name


def _once(what: str, found: List[str]) -> None:
    twice = sorted({each for each in found if found.count(each) > 1})
    if twice:
        raise Failure(REFUSED, f"{what} {twice[0]!r} is there twice.")
