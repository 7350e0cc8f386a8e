"""`deploy up` on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.cli.cluster.lines import tell_done

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, channel: str | None, take_over: str) -> None:
    from provision.cluster import moves

    to = channel or "stable"
    with tell_done(session, "up", to) as done:
        done += [moves.up(session.there, to, tuple(filter(None, [take_over])))]
