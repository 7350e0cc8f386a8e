"""What `deploy machine watch` tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from provision.errors import DeployError, Exit

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.rollout.lost import Endpoints


def look(session: Session, told: set[str], *, stops: bool) -> Exit:
    """Look once at the target's machines, do what is to be done, and tell what was not told at the last look.

    Args:
        told: what was told at the last look.
        stops: whether what fails ends this; else it is told, and the next look tries again.

    Raises:
        DeployError: what failed, if it `stops`.
    """
    from provision.rollout.lost import Endpoints, Failed, attend

    now: set[str] = set()
    code, failed = Exit.SOME_HOSTS_FAILED, None
    try:
        with session.console.live():
            for found in attend(session.deployment, session.interruptible):
                if isinstance(found, Failed):
                    failed = failed or found.error
                    _tell(session, told, now, {"event": "warning", "host": "", "text": str(found.error)}, [])
                    continue
                if isinstance(found, Endpoints):
                    code = Exit.SOME_HOSTS_FAILED if found.missing else Exit.DONE
                event, lines = _said(found)
                _tell(session, told, now, event, lines)
    except DeployError as error:
        failed = error
        _tell(session, told, now, {"event": "warning", "host": "", "text": str(error)}, [])
    told.clear()
    told |= now
    if failed and stops:
        raise failed
    return code


def _tell(session: Session, told: set[str], now: set[str], event: dict[str, Any], lines: list[str]) -> None:
    key = str([*lines, event.get("text", "")])
    now.add(key)
    if key in told:
        return
    if lines:
        session.console.answer(event, lines)
    else:
        session.console.event(event)


def _said(found: object) -> tuple[dict[str, Any], list[str]]:
    from provision.cli.render.machines import paid
    from provision.rollout.lost import Back, Endpoints, GivenBack, Lost

    match found:
        case Lost():
            event = {"event": "lost", "machine": found.machine.id, "loss": found.loss, "next": found.next}
            place = found.machine.label.split(" ")[0]
            after = f"; next: {found.next}" if found.next else ""
            return event, [f"{found.machine.id} ({place}) is lost: {found.loss}: {found.why}{after}"]
        case Back():
            event = {"event": "result", "machine": found.machine.id, "instead_of": list(found.instead_of)}
            others = ", ".join(map(str, found.instead_of))
            if not others:
                return event | {"outcome": "back"}, [f"{found.machine.id} is back; its key is pinned anew"]
            return event | {"outcome": "replaced"}, [f"{found.machine.id} serves in the place of {others}, proven"]
        case GivenBack():
            event = {"event": "result", "machine": found.machine.id, "outcome": "destroyed"}
            text = f"{found.machine.id} is given back; {paid(found.cost, found.charged)}"
            return event | {"cost": round(found.cost, 4), "charged": found.charged}, [text]
        case Endpoints():
            reached = [*_endpoints(found)]
            event = {"event": "endpoints", "endpoints": reached, "missing": found.missing}
            lines = [f"{each['address']} leads to port {each['port']} of {each['machine']}" for each in reached]
            if found.missing:
                lines.append(f"{found.missing} of {found.wanted} machines do not serve; deploy status says more")
            return event, lines or [f"all {found.wanted} machines serve"]
    raise TypeError(found)


def _endpoints(found: Endpoints) -> Iterator[dict[str, Any]]:
    for machine in found.serving:
        for port, (host, outer) in sorted(machine.ports.items()):
            if (host, outer) != machine.address:  # which leads to ssh
                yield {"machine": machine.id, "port": port, "address": f"{host}:{outer}"}
