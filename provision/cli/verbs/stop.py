"""`deploy stop`."""

from __future__ import annotations

import click

from provision.cli.on_purpose import carry_out, channel_option
from provision.cli.session import Session
from provision.cli.verb import verb

_AFTERWARDS = "They stay stopped, over a reboot too, until: deploy start, or deploy up"


@verb("stop", example="deploy stop worker\ndeploy stop --channel canary")
@click.argument("services", nargs=-1)
@channel_option
def command(session: Session, services: tuple[str, ...], channel: str) -> None:
    """Stop services; they stay stopped, over a reboot too.

    All of them, or those named, once no request is in flight. Everything stays on the host. `deploy start` starts them
    again, and so does the next deploy to their channel: after `deploy up`, what is declared runs.
    """
    carry_out(session, "stop", services, channel, afterwards=_AFTERWARDS)
