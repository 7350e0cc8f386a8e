"""`deploy traffic` on a cluster: who gets which request, or another share for the canary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from provision.cli.cluster.lines import tell_done, traffic_lines
from provision.cli.looking import show
from provision.errors import Exit, UsageError

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.cluster.looks import Traffic


def command(session: Session, words: Sequence[str], watch: bool, every: float, minutes: int) -> int:
    from provision.cli.verbs.traffic import share_asked
    from provision.cluster import looks, moves

    share = share_asked(session, words)
    if share is not None:
        if watch:
            raise UsageError("--watch looks, and a share changes something.", next_step="one after the other")
        with tell_done(session, "weigh", "canary") as done:
            done += [moves.weigh(session.there, share)]
    show(
        session,
        lambda: [looks.traffic(session.there, minutes)],
        lambda found: _event(session, found),
        lambda found: traffic_lines(session.target, found, minutes),
        every if watch else None,
    )
    return Exit.DONE


def _event(session: Session, found: Traffic) -> dict[str, Any]:
    return {"event": "traffic", "host": session.target, **asdict(found)}
