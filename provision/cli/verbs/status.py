"""`deploy status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provision import rollout
from provision.cli.failures import as_event
from provision.cli.looking import again, show
from provision.cli.render.status import status_lines
from provision.cli.session import Session
from provision.cli.verb import verb

if TYPE_CHECKING:
    from provision.rollout import Standing


@verb("status", example="deploy status\ndeploy status --watch\ndeploy status --json | jq .state", preview=True)
@again(5.0)
def command(session: Session, watch: bool, every: float) -> int:
    """Show what runs, since which release, and whether it is healthy.

    Also who is deploying right now, and how the last deploy ended, should the machine that began it be gone.

    `serving` means that all of it runs as the host's last commit says, was proven, and does not restart. The exit
    status is 0 where every host serves, 1 where one does not, 3 where one can't be reached, 5 where one is degraded.
    """
    with rollout.watched(session.deployment, hosts=session.hosts) as hosts:
        return rollout.worst(show(session, hosts.look, _event, status_lines, every if watch else None))


def _event(item: Standing) -> dict[str, Any]:
    event: dict[str, Any] = {"event": "status", "host": item.host, "state": item.state, "next": item.next}
    if isinstance(item, rollout.HostStatus):
        behind = {"front": item.front} if item.front else {}
        return {**event, **behind, "drift": item.drift, "project": item.project}
    return {**event, "error": as_event(item.error)}
