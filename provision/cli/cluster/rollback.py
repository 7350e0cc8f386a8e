"""`deploy rollback` on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.cli.cluster.lines import tell_done

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, release: str | None) -> None:
    from provision.cluster import moves
    from provision.rollout.on_cluster import Proof

    with tell_done(session, "rollback", "stable") as done:
        to = moves.earlier(session.there, release or "")
        rests_on = Proof(session.there).rested_on(to) if session.there.target.require else ()
        done += [moves.rollback(session.there, to, rests_on)]
