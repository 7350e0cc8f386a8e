"""`deploy plan`."""

from __future__ import annotations

from dataclasses import asdict

import click

from provision.cli.session import Session
from provision.cli.verb import verb


@verb("plan", example="deploy plan\ndeploy plan --channel canary --json", secrets=True)
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
def command(session: Session, channel: str) -> None:
    """Show what `deploy up` would do; change nothing.

    Program by program and file by file. `deploy up` applies this very plan, or says that the host has changed since.
    """
    from provision import rollout
    from provision.cli.render.plan import plan_lines

    with session.console.live():
        plans = rollout.plan(session.deployment, channel, hosts=session.hosts)
    for item in plans:
        facts = {**asdict(item.plan), "unchanged": item.plan.unchanged}
        session.console.answer({"event": "plan", "host": item.host, **facts}, plan_lines(item.host, item.plan))
