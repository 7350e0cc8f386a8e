"""`deploy promote`."""

from __future__ import annotations

from provision import rollout
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("promote", example="deploy up --channel canary && deploy promote")
def command(session: Session) -> None:
    """Bring the canary's release to stable, proven again.

    Exactly the release that was tried: nothing is built or shipped. The canary ends when stable serves it.
    """
    with session.interruptible() as interrupt:
        rollout.promote(session.deployment, interrupt=interrupt, hosts=session.hosts)
