"""What `deploy tunnel` and `deploy open` have in common."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from provision.errors import UsageError
from provision.project.fault import did_you_mean

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.hosts import HostConnection, Tunnel

_LOOK_SECONDS = 0.5  # how soon it is told that nothing comes through


def ports_of(session: Session, services: Sequence[str], channel: str) -> dict[str, int]:
    """Service -> port, of those that are named; of none, of all that have one and run without being asked for.

    Raises:
        UsageError: one has none, or nothing has.
    """
    known = session.ports(channel, on_demand=bool(services))
    for name in services:
        if name not in known:
            hint = did_you_mean(name, known) or f"With a port: {', '.join(known) or 'none'}."
            raise UsageError(f"no service {name} with a port.", why=hint)
    if not known:
        raise UsageError("no service has a port, so there is nothing to reach.")
    return {name: known[name] for name in services or known}


def open_tunnel(connection: HostConnection, port: int, local: int | None) -> Tunnel:
    """At the local port that is asked for; else at the port's own number, or at any where that is taken."""
    try:
        return connection.forward(port, port if local is None else local)
    except UsageError:
        if local is not None:
            raise
        return connection.forward(port)


def hold(session: Session, tunnels: Sequence[Tunnel], said: str) -> None:
    """Until Ctrl-C, which is no failure from the moment it is `said`; what does not come through is told once."""
    try:
        session.console.note(said)
        told: set[str] = set()
        while True:
            time.sleep(_LOOK_SECONDS)
            for error in {str(tunnel.last_error) for tunnel in tunnels if tunnel.last_error} - told:
                told.add(error)
                session.console.note(error)
    except KeyboardInterrupt:
        return


def has_browser() -> bool:
    """Whether one has a window of its own: one in this terminal would stand in front of what is told here."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
