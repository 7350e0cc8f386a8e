"""`deploy smoke`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from provision import rollout
from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import Exit

if TYPE_CHECKING:
    from provision.agent import checks


@verb("smoke", example="deploy smoke\ndeploy smoke --channel canary", preview=True)
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
@click.option("--sign", is_flag=True, help="Sign what they saw, as evidence about the release that is there.")
@click.option("--anew", is_flag=True, help="With --sign: nothing older counts, where evidence was lost.")
def command(session: Session, channel: str, sign: bool, anew: bool) -> int:
    """Run the checks from here, through a tunnel.

    The same checks that a deploy demands, seen from outside. Exit status 1 where one does not pass. What is signed with
    --sign is kept on the host, and lets the release become stable where the target requires evidence.
    """
    if sign or anew:
        refuse_fork("nothing is signed")
    with session.console.live():
        reports = rollout.smoke(session.deployment, channel, hosts=session.hosts, sign=sign or anew, anew=anew)
    return told(session, [(report.host, report.outcome) for report in reports])


def told(session: Session, asked: Sequence[tuple[str, checks.Outcome]]) -> Exit:
    """Say which checks did not pass, and how many did.

    Args:
        asked: where each was asked, and how that ended.
    """
    failed = [(place, outcome) for place, outcome in asked if not outcome.passed]
    for place, outcome in failed:
        session.console.note(f"{place}: {outcome.sentence}")
    session.console.answer(
        {"event": "result", "checks": len(asked), "failed": len(failed)},
        f"{len(asked) - len(failed)} of {len(asked)} checks passed",
    )
    return Exit.FAILED if failed else Exit.DONE
