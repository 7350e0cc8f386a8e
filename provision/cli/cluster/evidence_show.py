"""`deploy evidence show` on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.cli.cluster.evidence import told
from provision.errors import Exit

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, channel: str) -> int:
    told(session, channel)
    return Exit.DONE
