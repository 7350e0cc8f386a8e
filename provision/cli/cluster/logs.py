"""`deploy logs` on a cluster."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.cli.session import Session

_LINES = 100


def command(
    session: Session, services: tuple[str, ...], lines: int | None, follow: bool, since: str, channel: str
) -> None:
    from provision.cli.verbs.logs import seconds_ago
    from provision.cluster import pods

    if channel == "candidate":
        raise UsageError("a cluster has no candidate: what failed is gone.", next_step="deploy history says why")
    ago = math.ceil(seconds_ago(since)) if since else None
    line = None
    for line in pods.logs(session.there, services, channel, lines or _LINES, ago, follow=follow):
        event = {"event": "log", "host": session.target, "service": line.service, "pod": line.pod}
        session.console.relay(event, line.text, line.pod)
    if line is None:
        session.console.note(f"nothing was written{' since then' if since else ''}")
