"""`deploy history`."""

from __future__ import annotations

from provision import rollout
from provision.cli.render.status import entry_line
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("history", example="deploy history\ndeploy rollback 4f1c9a", preview=True)
def command(session: Session) -> None:
    """Show what was deployed, by whom, and how it ended.

    Oldest first, host by host. The beginning of a release's id is what `deploy rollback` takes.
    """
    with session.console.live():
        entries = rollout.history(session.deployment, hosts=session.hosts)
    for entry in entries:
        session.console.answer({"event": "history", **entry}, f"{entry['host']}: {entry_line(entry)}")
    if not entries:
        session.console.note("nothing was deployed yet")
