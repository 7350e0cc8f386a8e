"""`deploy rollout pause` on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.cli.cluster.watch import steer

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session) -> None:
    steer(session, "pause")
