"""`deploy plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from provision import rollout
from provision.cli.github.forks import is_fork, refuse_fork
from provision.cli.moving import CHANNEL, asked_channel, weight_of
from provision.cli.render.plan import lent_lines, plan_lines
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import Exit, UsageError
from provision.shown import shown_event


@verb(
    "plan",
    example="deploy plan\ndeploy plan --channel canary --json\ndeploy plan --markdown > comment.md",
    secrets=True,
)
@click.option("--channel", type=click.Choice(["stable", "canary"]), help=CHANNEL)
@click.option("--weight", metavar="SHARE", help="As `deploy up --weight SHARE` would.")
@click.option("--abort-rollout", is_flag=True, help="As `deploy up --abort-rollout` would.")
@click.option("--take-over", metavar="PROJECT", default="", help="As `deploy up --take-over PROJECT` would.")
@click.option("--markdown", is_flag=True, help="As a comment on a pull request, which a later one can replace.")
def command(
    session: Session, channel: str | None, weight: str | None, abort_rollout: bool, take_over: str, markdown: bool
) -> int:
    """Show what `deploy up` would do; change nothing.

    Program by program and file by file. `deploy up` applies this very plan, or says that the host has changed since.
    What `up` would be refused for is told too, and the exit status is 4 then.
    """
    if markdown and session.console.as_json:
        raise UsageError("--markdown and --json are two ways to say the same.", next_step="leave one of them out")
    warnings: list[dict[str, Any]] = []
    if markdown:
        session.deployment.on_event = lambda event: _heard(session, event, warnings)
    if is_fork():
        if session.itself.target.provider:
            refuse_fork("no provider is asked for its machines")
        without = "a fork's pull request is given no secrets, so new values of secrets are not in this plan"
        session.deployment.on_event({"event": "warning", "host": "", "text": without})
    to, share = asked_channel(session, channel), weight_of(weight)
    with session.console.live():
        plans = rollout.plan(
            session.deployment,
            to,
            hosts=session.hosts,
            take_over=take_over,
            share=share,
            abort_rollout=abort_rollout,
        )
    for item in plans if not markdown else ():
        lines = [*plan_lines(item.host, item.plan), *([f"  {item.front}"] if item.front else [])]
        session.console.answer(_event(session, item), lines)
    if session.deployment.target.lend is not False:
        for line in lent_lines([item.plan for item in plans]):
            session.console.note(line)
    if markdown:
        from provision.cli.github.comment import comment

        project = session.deployment.loaded.project.name
        events = [shown_event(event) for event in (*warnings, *(_event(session, item) for item in plans))]
        text = comment(f"plan-{project}-{session.target}-{to or 'canary'}", f"deploy plan of {project}", events)
        session.console.answer({"event": "plan"}, text.splitlines())
    return Exit.REFUSED if any(item.plan.refused for item in plans) else Exit.DONE


def _event(session: Session, item: rollout.HostPlan) -> dict[str, Any]:
    behind = {"front": item.front} if item.front else {}
    return {"event": "plan", "host": item.host, "target": session.target, **behind, **item.plan.as_facts()}


def _heard(session: Session, event: Mapping[str, Any], warnings: list[dict[str, Any]]) -> None:
    session.console.event(event)
    if event["event"] == "warning":
        warnings.append(dict(event))
