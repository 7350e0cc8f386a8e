"""`deploy plan` on a cluster: what the API server itself says would change."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from provision.cli.cluster.lines import plan_lines
from provision.errors import Exit

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, channel: str | None, take_over: str) -> int:
    from provision.cluster import looks, rolling

    with session.console.live():
        to = channel or rolling.channel_by_itself(session.there)
        planned = looks.plan(session.there, to, tuple(filter(None, [take_over])))
    event = {"event": "plan", "host": session.target, "target": session.target, **asdict(planned)}
    event |= {"refused": planned.refused, "unchanged": planned.unchanged}
    event["changes"] = [
        {**each, "name": str(change.name)} for each, change in zip(event["changes"], planned.changes, strict=True)
    ]
    session.console.answer(event, plan_lines(session.target, planned))
    return Exit.REFUSED if planned.refused else Exit.DONE
