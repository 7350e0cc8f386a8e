"""`deploy exec`."""

from __future__ import annotations

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError


@verb("exec", example="deploy exec -- ls -la\ndeploy exec --host gpu-03 -- nvidia-smi")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def command(session: Session, words: tuple[str, ...]) -> int:
    """Run a command in the release that serves.

    Its output comes back as it is, its exit status is this command's. No shell reads the words: for a pipe, run sh -c.
    """
    from provision import rollout

    if len(session.hosts) > 1:
        raise UsageError("a command runs on one host at a time.", next_step=f"--host {session.hosts[0]}")
    return rollout.execute(session.deployment, words, session.hosts[0] if session.hosts else None)
