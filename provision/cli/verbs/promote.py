"""`deploy promote`."""

from __future__ import annotations

from provision.cli.promoting import promote_canary
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("promote", example="deploy up --channel canary && deploy promote")
def command(session: Session) -> None:
    """Bring the canary's release to stable, proven again.

    Exactly the release that was tried: nothing is built or shipped. The canary ends when stable serves it. Where the
    target has `channel_from = "registry"`, `:stable` of its images moves first, by evidence of the canary's hosts, and
    hosts that had no canary take that as well.
    """
    session.tell_outcomes(promote_canary(session))
