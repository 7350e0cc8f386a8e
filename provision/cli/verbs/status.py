"""`deploy status`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from provision import rollout
from provision.cli.failures import as_event
from provision.cli.render.status import status_lines
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.cli.watching import wait

if TYPE_CHECKING:
    from provision.rollout import Standing


@verb("status", example="deploy status\ndeploy status --watch\ndeploy status --json | jq .state", preview=True)
@click.option("-w", "--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(1.0, 3600.0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: how long to wait between two looks.",
)
def command(session: Session, watch: bool, every: float) -> int:
    """Show what runs, since which release, and whether it is healthy.

    Also who is deploying right now, and how the last deploy ended, should the machine that began it be gone.

    `serving` means that all of it runs as the host's last commit says, was proven, and does not restart. The exit
    status is 0 where every host serves, 1 where one does not, 3 where one can't be reached, 5 where one is degraded.
    """
    with rollout.watched(session.deployment, hosts=session.hosts) as hosts:
        with session.console.live():
            found = hosts.look()
        if not watch:
            for item in found:
                session.console.answer(_event(item), status_lines(item))
            return rollout.worst(found)
        try:
            with session.console.redrawn() as draw:
                while True:
                    _show(session, draw, found)
                    wait(every)
                    found = hosts.look()
        except KeyboardInterrupt:  # which is how one ends it
            return rollout.worst(found)


def _show(session: Session, draw: Callable[[str], None], found: Sequence[Standing]) -> None:
    if session.console.as_json:
        for item in found:
            session.console.answer({**_event(item), "time": int(time.time())})
    else:
        draw("\n".join(line for item in found for line in status_lines(item)))


def _event(item: Standing) -> dict[str, Any]:
    event: dict[str, Any] = {"event": "status", "host": item.host, "state": item.state, "next": item.next}
    if isinstance(item, rollout.HostStatus):
        return {**event, "drift": item.drift, "project": item.project}
    return {**event, "error": as_event(item.error)}
