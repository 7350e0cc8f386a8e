"""What `deploy restart`, `start` and `stop` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from provision import rollout
from provision.contract.outcome import COMMITTED

if TYPE_CHECKING:
    from provision.cli.session import Session

channel_option = click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)


def carry_out(session: Session, kind: str, services: tuple[str, ...], channel: str, *, afterwards: str = "") -> None:
    """Do it on every host.

    Args:
        afterwards: a sentence for people, once something was done.
    """
    with session.interruptible() as interrupt:
        done = rollout.on_purpose(session.deployment, kind, services, channel, interrupt, session.hosts)
    if afterwards and any(each.outcome == COMMITTED for each in done):
        session.console.note(afterwards)
