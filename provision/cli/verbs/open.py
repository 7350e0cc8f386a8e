"""`deploy open`."""

from __future__ import annotations

import webbrowser

import click

from provision import rollout
from provision.cli.session import Session
from provision.cli.tunnelling import has_browser, hold, open_tunnel, ports_of
from provision.cli.verb import verb
from provision.errors import UsageError


@verb("open", example="deploy open\ndeploy open grafana --host gpu-03")
@click.argument("service", required=False, default="")
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
@click.option("--local", type=click.IntRange(1, 65535), help="The local port (default: the service's, if it is free).")
@click.option("--no-browser", is_flag=True, help="Only the tunnel, and its URL.")
def command(session: Session, service: str, channel: str, local: int | None, *, no_browser: bool) -> None:
    """Open a service in the browser, through a tunnel.

    The only service with a port, or the one that is named; of several hosts, on the first, or on --host. The URL is
    printed, and holds until Ctrl-C.
    """
    ports = ports_of(session, (service,) if service else (), channel)
    if len(ports) > 1:
        first = next(iter(ports))
        why = f"With a port: {', '.join(ports)}."
        raise UsageError("which service?", why=why, next_step=f"deploy open {first}; or all at once: deploy tunnel")
    spec = session.specs[0]
    with session.deployment.connect(spec) as connection:
        ((name, port),) = rollout.ports_there(session.deployment, spec, connection, channel, ports).items()
        tunnel = open_tunnel(connection, port, local)
        with tunnel:
            url = f"http://127.0.0.1:{tunnel.local_port}/"
            session.console.answer(
                {"event": "tunnel", "host": spec.name, "service": name, "port": port, "url": url},
                f"{spec.name}: {name} (port {port}) is at {url}",
            )
            if not no_browser and has_browser() and not webbrowser.open(url):
                session.console.note("no browser could be started here; open the URL by hand")
            hold(session, [tunnel], "Ctrl-C ends the tunnel.")
