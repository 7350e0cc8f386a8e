"""Which port a service has in which lane.

The canary and the candidate run beside the stable copy, so each has a port of its own: 10000 and 20000 above the
declared one, or below it where that would leave the range. Further copies have the ports after the first one's.

Where something stands before the programs it has the declared port, and each slot one of its own: 10000, 20000 and
30000 above it, then the ports after these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provision.project.service import Lane, Service

CANARY_OFFSET = 10_000
CANDIDATE_OFFSET = 20_000
_LAST_OFFSET = 30_000
_LAST_PORT = 65_535


def port_of(service: Service, lane: Lane, copy: int = 1) -> int | None:
    """The port of `service` in `lane`; `None` for a service without one.

    Args:
        copy: counted from 1; canaries and candidates are one each.
    """
    if service.port is None:
        return None
    if lane == "canary":
        return service.canary_port or _shifted(service.port, CANARY_OFFSET)
    if lane == "candidate":
        return service.candidate_port or _shifted(service.port, CANDIDATE_OFFSET)
    return service.port + copy - 1


def slot_port(service: Service, copy: int) -> int:
    """The port of a slot of `service`, counted from 1, where something else has the declared one."""
    assert service.port is not None  # noqa: S101  for mypy
    after, which = divmod(copy - 1, 3)
    first = (
        service.canary_port or _shifted(service.port, CANARY_OFFSET),
        service.candidate_port or _shifted(service.port, CANDIDATE_OFFSET),
        _shifted(service.port, _LAST_OFFSET),
    )
    return first[which] + after


def _shifted(port: int, offset: int) -> int:
    return port + offset if port + offset <= _LAST_PORT else port - offset
