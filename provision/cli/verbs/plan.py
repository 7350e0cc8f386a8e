"""`deploy plan`."""

from __future__ import annotations

from dataclasses import asdict

import click

from provision import rollout
from provision.cli.render.plan import plan_lines
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import Exit


@verb("plan", example="deploy plan\ndeploy plan --channel canary --json", secrets=True)
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
@click.option("--take-over", metavar="PROJECT", default="", help="As `deploy up --take-over PROJECT` would.")
def command(session: Session, channel: str, take_over: str) -> int:
    """Show what `deploy up` would do; change nothing.

    Program by program and file by file. `deploy up` applies this very plan, or says that the host has changed since.
    What `up` would be refused for is told too, and the exit status is 4 then.
    """
    with session.console.live():
        plans = rollout.plan(session.deployment, channel, hosts=session.hosts, take_over=take_over)
    for item in plans:
        steps = [step.as_dict() for step in item.plan.steps]
        facts = {**asdict(item.plan), "steps": steps, "unchanged": item.plan.unchanged}
        session.console.answer({"event": "plan", "host": item.host, **facts}, plan_lines(item.host, item.plan))
    return Exit.REFUSED if any(item.plan.refused for item in plans) else Exit.DONE
