"""`deploy promote` on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.cli.cluster.lines import tell_done

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session) -> None:
    from provision.cluster import moves

    with tell_done(session, "promote", "stable") as done:
        done += [moves.promote(session.there)]
