"""`deploy ssh`."""

from __future__ import annotations

import shlex

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.contract.layout import Layout
from provision.errors import UsageError

_SCRIPT = """\
cd -P -- {folder} 2>/dev/null || echo "nothing is deployed as {channel} here; this is your home" >&2
exec "${{SHELL:-/bin/sh}}" -l
"""


@verb("ssh", example="deploy ssh\ndeploy ssh gpu-03 --channel canary")
@click.argument("host", required=False, default="")
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
def command(session: Session, host: str, channel: str) -> int:
    """Log in to a host, in the folder of the release that serves.

    With your own ssh and its settings, but by the way, the key and the pinned host keys that deploy uses. For one
    command, with a service's environment: deploy exec. The exit status is ssh's.
    """
    if session.console.as_json:
        raise UsageError("a terminal has no events.", next_step="deploy ssh, without --json; or deploy exec --json")
    session.hosts += (host,) if host else ()
    specs = session.specs
    if len(specs) > 1:
        names = ", ".join(spec.name for spec in specs)
        raise UsageError("which host?", why=f"The target has: {names}.", next_step=f"deploy ssh {specs[0].name}")
    from provision.hosts.ssh_program import talk

    folder = shlex.quote(Layout(session.deployment.target.path).channel(channel))
    return talk(specs[0], _SCRIPT.format(folder=folder, channel=channel))
