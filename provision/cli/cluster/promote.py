"""`deploy promote` on a cluster."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from provision.cli.cluster.lines import tell_done

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session) -> None:
    from provision.cluster import moves
    from provision.rollout.on_cluster import Proof

    there = session.there
    with tell_done(session, "promote", "stable") as done:
        proof = Proof(there)
        canary = there.book.read().channels.get("canary", "")
        rests_on = proof.demand(there.book.release(canary)) if there.target.require and canary else ()
        done += [moves.promote(there, rests_on=rests_on, proven=partial(proof.sign, "stable"), only=canary)]
