"""`deploy tunnel`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError
from provision.project.fault import did_you_mean

if TYPE_CHECKING:
    from provision.hosts import HostConnection, Tunnel


_LOOK_SECONDS = 0.5  # how soon it is told that nothing comes through


@verb("tunnel", example="deploy tunnel\ndeploy tunnel fastapi --local 9000", preview=True)
@click.argument("services", nargs=-1)
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
@click.option("--local", type=click.IntRange(1, 65535), help="The local port, for one service on one host.")
def command(session: Session, services: tuple[str, ...], channel: str, local: int | None) -> None:
    """Make services of a host reachable on this machine.

    Every service with a port gets its own port here, if that is free; the links are printed. Ctrl-C ends it.
    """
    deployment = session.deployment
    ports = _ports(session, services, channel)
    hosts = session.specs
    if local is not None and len(ports) * len(hosts) != 1:
        raise UsageError("--local is for one service on one host.", next_step="name the service and --host")
    tunnels: list[Tunnel] = []
    with ExitStack() as stack:
        for spec in hosts:
            connection = stack.enter_context(deployment.connect(spec))
            for name, port in ports.items():
                tunnel = _open(connection, port, local if local is not None else port, strict=local is not None)
                tunnels.append(stack.enter_context(tunnel))
                url = f"http://127.0.0.1:{tunnel.local_port}"
                session.console.answer(
                    {"event": "tunnel", "host": spec.name, "service": name, "port": port, "url": url},
                    f"{spec.name}: {name} (port {port}) is at {url}",
                )
        session.console.note("Ctrl-C ends the tunnels.")
        try:
            told: set[str] = set()
            while True:
                time.sleep(_LOOK_SECONDS)
                for error in {str(tunnel.last_error) for tunnel in tunnels if tunnel.last_error} - told:
                    told.add(error)
                    session.console.note(error)
        except KeyboardInterrupt:
            return


def _ports(session: Session, services: tuple[str, ...], channel: str) -> dict[str, int]:
    known = session.ports(channel, on_demand=bool(services))
    for name in services:
        if name not in known:
            hint = did_you_mean(name, known) or f"With a port: {', '.join(known) or 'none'}."
            raise UsageError(f"no service {name} with a port.", why=hint)
    if not known:
        raise UsageError("no service has a port, so there is nothing to reach.")
    return {name: known[name] for name in services or known}


def _open(connection: HostConnection, port: int, local: int, *, strict: bool) -> Tunnel:
    try:
        return connection.forward(port, local)
    except UsageError:
        if strict:
            raise
        return connection.forward(port)
