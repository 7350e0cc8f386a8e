"""`deploy status`."""

from __future__ import annotations

from provision import rollout
from provision.cli.render.status import status_lines
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("status", example="deploy status\ndeploy status --json | jq .state", preview=True)
def command(session: Session) -> None:
    """Show what runs, since which release, and whether it is healthy.

    Also who is deploying right now, and how the last deploy ended, should the machine that began it be gone.
    """
    with session.console.live():
        found = rollout.status(session.deployment, hosts=session.hosts)
    for item in found:
        session.console.answer(
            {"event": "status", "host": item.host, "state": item.state, "project": item.project}, status_lines(item)
        )
