"""`deploy logs`."""

from __future__ import annotations

import click

from provision import rollout
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError


@verb("logs", example="deploy logs fastapi\ndeploy logs llama --follow --host gpu-03", preview=True)
@click.argument("service")
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
def command(session: Session, service: str, lines: int, follow: bool, channel: str) -> None:
    """Show the last lines of a service's log.

    Of one host: with several, name it with --host.
    """
    if len(session.hosts) > 1:
        raise UsageError("logs are read from one host at a time.", next_step=f"--host {session.hosts[0]}")
    host = session.hosts[0] if session.hosts else None
    for line in rollout.logs(session.deployment, service, lines=lines, follow=follow, channel=channel, host=host):
        session.console.relay({"event": "log", "service": service}, line)
