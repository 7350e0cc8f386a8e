"""`deploy restart`."""

from __future__ import annotations

import click

from provision.cli.on_purpose import carry_out, channel_option
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("restart", example="deploy restart\ndeploy restart fastapi llama --host gpu-03")
@click.argument("services", nargs=-1)
@channel_option
def command(session: Session, services: tuple[str, ...], channel: str) -> None:
    """Restart services as they are deployed, and prove them again.

    All of them, or those named; `api` means all of its copies, `api.2` the second. Requests in flight are waited for
    first, as in a deploy. Where the proof fails, what ran before is started again. Nothing new is shipped: `deploy up`
    does that.
    """
    carry_out(session, "restart", services, channel)
