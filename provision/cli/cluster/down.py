"""`deploy down` on a cluster."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from provision.cli.cluster.lines import left_lines, tell_done

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, channel: str | None) -> None:
    from provision.cluster import claims, moves

    with tell_done(session, "down", channel or "") as done:
        done += [moves.down(session.there, channel or "")]
        left = claims.left(session.there, channel or "")
        session.console.event({"event": "left", "host": session.target, "channel": channel or "", **asdict(left)})
        for line in left_lines(session.target, left):
            session.console.note(line)
