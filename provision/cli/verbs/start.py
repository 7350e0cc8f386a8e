"""`deploy start`."""

from __future__ import annotations

import click

from provision.cli.on_purpose import carry_out, channel_option
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("start", example="deploy start worker")
@click.argument("services", nargs=-1)
@channel_option
def command(session: Session, services: tuple[str, ...], channel: str) -> None:
    """Start services that were stopped, and prove them.

    All of them, or those named; of those on demand, only what is named. What runs is left alone.
    """
    carry_out(session, "start", services, channel)
