"""`deploy down`."""

from __future__ import annotations

import click

from provision import rollout
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError
from provision.hosts import SANDBOX
from provision.targets import sandbox


@verb("down", example="deploy down --channel canary\ndeploy down\ndeploy down --preview pr-7", preview=True)
@click.option("--channel", type=click.Choice(["stable", "canary"]), help="Only this channel (default: both).")
@click.option("--expired", is_flag=True, help="End the previews that are wanted no more, and nothing else.")
def command(session: Session, channel: str | None, expired: bool) -> None:
    """Stop the project's services and remove them from the supervisor.

    Releases, logs and models stay on the host; `deploy up` brings the services back. A sandbox ends with them. Of a
    preview nothing stays.
    """
    if sum(map(bool, (channel, session.preview, expired))) > 1:
        raise UsageError("--channel, --preview and --expired each say what ends.", next_step="give one of them")
    with session.interruptible() as interrupt:
        if session.preview:
            if not rollout.down_preview(session.itself, session.preview, interrupt, session.hosts):
                nothing = {"event": "result", "outcome": "unchanged", "kind": "down"}
                session.console.answer(nothing, f"there is no preview {session.preview} on target {session.target}")
            return
        if expired:
            ended = rollout.down_expired(session.itself, interrupt, session.hosts)
            session.console.note(f"ended: {', '.join(ended)}" if ended else "every preview is still wanted")
            return
        rollout.down(session.deployment, channel or "", interrupt=interrupt, hosts=session.hosts)
    throwaway = not channel and [host.text for host in session.deployment.target.hosts] == [SANDBOX]
    if throwaway and sandbox.stop(session.directory.absolute()):
        session.console.note("the throwaway host was ended")
