"""`deploy up` on a cluster."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from provision.cli.cluster.lines import tell_done
from provision.cli.moving import weight_of
from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, channel: str | None, take_over: str, weight: str | None, abort_rollout: bool) -> None:
    from provision.cluster import moves, rolling
    from provision.rollout.on_cluster import Proof

    share = weight_of(weight)
    to = channel or rolling.channel_by_itself(session.there)
    if share is not None and to != "canary":
        raise UsageError(
            "a weight is a canary's: stable has what that leaves.", next_step="deploy up --channel canary --weight 5%"
        )
    there = session.there
    with tell_done(session, "up", to) as done:
        proof = Proof(there)
        required = there.target.require and to == "stable" and there.demand_namespace()
        is_new = required and there.book.read().channels.get(to) != there.release.id
        done += [
            moves.up(
                there,
                to,
                tuple(filter(None, [take_over])),
                share,
                aborts=abort_rollout,
                rests_on=proof.demand(there.release) if is_new else (),
                proven=partial(proof.sign, to),
            )
        ]
    record = done[0].inventory.rollout
    if record and record["status"] == "running" and to == "canary":
        session.console.note("a rollout has begun, and goes on as long as somebody watches; next: deploy rollout watch")
