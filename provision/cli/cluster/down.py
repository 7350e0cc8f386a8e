"""`deploy down` on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.cli.cluster.lines import tell_done

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, channel: str | None) -> None:
    from provision.cluster import moves

    with tell_done(session, "down", channel or "") as done:
        done += [moves.down(session.there, channel or "")]
