"""`deploy status` on a cluster."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from provision.cli.cluster.lines import status_lines
from provision.errors import Exit

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.cluster.looks import Status

_WORSE = {"degraded": Exit.DEGRADED, "serving": Exit.DONE}


def command(session: Session, watch: bool, every: float) -> int:
    from provision.cli.watching import wait
    from provision.cluster import looks

    with session.console.live():
        found = looks.status(session.there)
    if not watch:
        session.console.answer(_event(session, found), status_lines(session.target, found))
        return _WORSE.get(found.state, Exit.FAILED)
    try:
        with session.console.redrawn() as draw:
            while True:
                if session.console.as_json:
                    session.console.answer({**_event(session, found), "time": int(time.time())})
                else:
                    draw("\n".join(status_lines(session.target, found)))
                wait(every)
                found = looks.status(session.there)
    except KeyboardInterrupt:  # which is how one ends it
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
        "inventory": inventory,
    }
