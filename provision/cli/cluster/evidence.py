"""What verbs of `deploy evidence` say on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.cli.render.image import finding_event, finding_line

if TYPE_CHECKING:
    from provision.cli.session import Session


def told(session: Session, channel: str) -> list[str] | None:
    """Tell the evidence about the release in a channel; what speaks against it, or None where there is none."""
    from provision.rollout.on_cluster import Proof

    there = session.there
    with session.console.live():
        id_ = there.book.read().channels.get(channel) if there.demand_namespace() else None
        if id_ is None:
            session.console.note(f"no release is in {channel}")
            return None
        proof = Proof(there)
        found = proof.findings(id_)
        against = proof.against(there.book.release(id_), found)
    lines = [f"{session.target}: {channel} is {id_[:12]}", *(f"  {finding_line(one)}" for one in found)]
    lines += [f"  against it: {text}" for text in against] or ["  it may be stable"]
    event = {"event": "evidence", "channel": channel, "host": session.target, "release": id_, "against": against}
    session.console.answer({**event, "found": [finding_event(one) for one in found]}, lines)
    return against
