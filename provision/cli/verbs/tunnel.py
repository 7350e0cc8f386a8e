"""`deploy tunnel`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from provision import rollout
from provision.cli.session import Session
from provision.cli.tunnelling import hold, open_tunnel, ports_of
from provision.cli.verb import verb
from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.hosts import Tunnel


@verb("tunnel", example="deploy tunnel\ndeploy tunnel fastapi --local 9000", preview=True)
@click.argument("services", nargs=-1)
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
@click.option("--local", type=click.IntRange(1, 65535), help="The local port, for one service on one host.")
def command(session: Session, services: tuple[str, ...], channel: str, local: int | None) -> None:
    """Make services of a host reachable on this machine.

    Every service with a port gets its own port here, if that is free; the links are printed. Ctrl-C ends it.
    """
    deployment = session.deployment
    ports = ports_of(session, services, channel)
    hosts = session.specs
    if local is not None and len(ports) * len(hosts) != 1:
        raise UsageError("--local is for one service on one host.", next_step="name the service and --host")
    tunnels: list[Tunnel] = []
    with ExitStack() as stack:
        for spec in hosts:
            connection = stack.enter_context(deployment.connect(spec))
            for name, port in rollout.ports_there(deployment, spec, connection, channel, ports).items():
                tunnel = open_tunnel(connection, port, local)
                tunnels.append(stack.enter_context(tunnel))
                url = f"http://127.0.0.1:{tunnel.local_port}"
                session.console.answer(
                    {"event": "tunnel", "host": spec.name, "service": name, "port": port, "url": url},
                    f"{spec.name}: {name} (port {port}) is at {url}",
                )
        hold(session, tunnels, "Ctrl-C ends the tunnels.")
