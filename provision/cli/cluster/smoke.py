"""`deploy smoke` on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.cli.verbs.smoke import told
from provision.errors import Refused

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, channel: str, sign: bool) -> int:
    from provision.agent.checks import event
    from provision.cluster.changing.filled import as_known
    from provision.cluster.waiting.prove import prove
    from provision.rollout.on_cluster import Proof

    there = session.there
    there.demand_namespace()
    known = there.book.read()
    release = known.channels.get(channel)
    if release is None:
        raise Refused(f"{channel} has no release that could be asked.", next_step="deploy up", host=session.target)
    kept = there.book.release(release)

    def tell(event: dict[str, object]) -> None:
        session.console.event({**event, "host": session.target})

    with session.console.live():
        asked = as_known(kept, channel, known)
        outcomes = [*prove(there.api, asked, channel, tell, once=True)]
        if sign:
            Proof(there).sign(channel, kept, [event(outcome, "") for outcome in outcomes])
    return told(session, [(session.target, outcome) for outcome in outcomes])
