"""A start that meets the port of its program kept by connections that are closed.

A server that binds without SO_REUSEADDR is refused for a minute after the last one before it closed a connection
(`listeners.kept_ports`). Most bind with it, and then there is nothing to wait for; so only one that ended is stopped,
the port is waited for, and it is started again.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Callable

from . import listeners
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.failure import Failure
    from ..contract.release import ServiceDocument

# Twice what the kernel takes to forget one (TCP_TIMEWAIT_LEN): before that the other side may take as long to close.
SECONDS = 120.0
_POLL = 0.1
_NEWS_SECONDS = 1.0  # until the journal has what a program said
_LOG_LINES = 50
# EADDRINUSE, as programs have it.
_SAYS_SO = re.compile(r"in use|EADDRINUSE|errno 98\b|os error 98\b|\bbind", re.IGNORECASE)


def is_why(ended: Failure, service: ServiceDocument, supervisor: Supervisor, *, worked: bool) -> bool:
    """Whether a program ended because of its port, as far as that can be told.

    Args:
        worked: it was proven before as it is. What is new may end for reasons of its own, and to wait for its port
            would keep the old one down; so it has to say that it could not bind.
    """
    until = time.monotonic() + _NEWS_SECONDS
    log = ended.details.get("log", [])
    while listeners.kept_ports(service["ports"]):
        if worked or any(map(_SAYS_SO.search, log)):
            return True
        if time.monotonic() > until:
            break
        time.sleep(_POLL)
        log = supervisor.log_tail(service["program"], _LOG_LINES)
    return False


def start_again(
    service: ServiceDocument, supervisor: Supervisor, until: float, emit: Emit, stop: Callable[[], None]
) -> None:
    """Stop a program, and start it once its ports are free, or it is `until`."""
    program = service["program"]
    supervisor.stop({program: service["stop_timeout"]})  # its supervisor's own tries would soon be over
    kept = listeners.kept_ports(service["ports"])
    if kept:
        ports = ", ".join(map(str, sorted(kept)))
        longest = f"at most {max(0.0, until - time.monotonic()):.0f} s"
        detail = f"for port {ports}, which closed connections keep for about {max(kept.values()):.0f} s more; {longest}"
        emit({"event": "step", "step": "wait", "program": program, "detail": detail})
    while listeners.kept_ports(service["ports"]) and time.monotonic() < until:
        stop()
        time.sleep(_POLL)
    emit({"event": "step", "step": "start", "program": program, "detail": "again"})
    supervisor.start([program])
