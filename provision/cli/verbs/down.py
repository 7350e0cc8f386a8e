"""`deploy down`."""

from __future__ import annotations

import click

from provision import rollout
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.hosts import SANDBOX
from provision.targets import sandbox


@verb("down", example="deploy down --channel canary\ndeploy down")
@click.option("--channel", type=click.Choice(["stable", "canary"]), help="Only this channel (default: both).")
def command(session: Session, channel: str | None) -> None:
    """Stop the project's services and remove them from the supervisor.

    Releases, logs and models stay on the host; `deploy up` brings the services back. A sandbox ends with them.
    """
    with session.interruptible() as interrupt:
        rollout.down(session.deployment, channel or "", interrupt=interrupt, hosts=session.hosts)
    throwaway = not channel and [host.text for host in session.deployment.target.hosts] == [SANDBOX]
    if throwaway and sandbox.stop(session.directory.absolute()):
        session.console.note("the throwaway host was ended")
