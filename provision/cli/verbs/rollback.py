"""`deploy rollback`."""

from __future__ import annotations

import click

from provision import rollout
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("rollback", example="deploy rollback\ndeploy rollback 4f1c9a")
@click.argument("release", required=False)
def command(session: Session, release: str | None) -> None:
    """Go back to the release before this one, or to a named one.

    RELEASE is the beginning of an id that `deploy history` shows. Secrets keep today's values.
    """
    with session.interruptible() as interrupt:
        done = rollout.rollback(session.deployment, to=release or "", interrupt=interrupt, hosts=session.hosts)
    session.tell_outcomes(done)
