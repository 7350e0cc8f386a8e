"""`deploy history`."""

from __future__ import annotations

from provision import rollout
from provision.cli.render.status import entry_lines
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("history", example="deploy history\ndeploy rollback 4f1c9a", preview=True)
def command(session: Session) -> None:
    """Show what was deployed, by whom, and how it ended.

    Oldest first, host by host; of what failed, was interrupted, or left a host degraded, also why. The beginning of a
    release's id is what `deploy rollback` takes.
    """
    with session.console.live():
        entries = rollout.history(session.deployment, hosts=session.hosts)
    by_time = sorted(entries, key=lambda entry: entry["time"])
    session.remember(release for entry in by_time for release in entry["channels"].values())
    for entry in entries:
        first, *more = entry_lines(entry)
        session.console.answer({"event": "history", **entry}, [f"{entry['host']}: {first}", *more])
    if not entries:
        session.console.note("nothing was deployed yet")
