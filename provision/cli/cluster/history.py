"""`deploy history` on a cluster."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from provision.cli.render.status import entry_lines

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session) -> None:
    from provision.cluster import looks

    with session.console.live():
        entries = looks.history(session.there).history
    session.remember(release for entry in entries for release in entry.channels.values())
    for entry in entries:
        told = asdict(entry)
        first, *more = entry_lines(told)  # type: ignore[arg-type]  # what it reads of it is alike
        session.console.answer(
            {"event": "history", "host": session.target, **told}, [f"{session.target}: {first}", *more]
        )
    if not entries:
        session.console.note("nothing was deployed yet")
