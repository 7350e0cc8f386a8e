"""`deploy rollback` on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.cli.cluster.lines import tell_done

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, release: str | None) -> None:
    from provision.cluster import moves

    with tell_done(session, "rollback", "stable") as done:
        done += [moves.rollback(session.there, release or "")]
