"""`deploy status` on a cluster."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from provision.cli.cluster.lines import status_lines
from provision.cli.looking import show
from provision.errors import Exit

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.cluster.looks import Status

_WORSE = {"degraded": Exit.DEGRADED, "serving": Exit.DONE}


def command(session: Session, watch: bool, every: float) -> int:
    from provision.cluster import looks

    (found,) = show(
        session,
        lambda: [looks.status(session.there)],
        lambda found: _event(session, found),
        lambda found: status_lines(session.target, found),
        every if watch else None,
    )
    return _WORSE.get(found.state, Exit.FAILED)


def _event(session: Session, found: Status) -> dict[str, Any]:
    services = [{**asdict(each), "name": str(each.name)} for each in found.services]
    inventory = asdict(found.inventory)
    del inventory["history"]
    return {
        "event": "status",
        "host": session.target,
        "state": found.state,
        "holder": found.holder,
        "drift": list(found.drift),
        "services": services,
        "ways": [asdict(each) for each in found.ways],
        "old_claims": [asdict(each) for each in found.old_claims],
        "inventory": inventory,
    }
