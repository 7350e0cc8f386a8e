"""Machines that are rented before a target is deployed to, and what is said of them if that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provision.cli.session import Session


@contextmanager
def rented(session: Session) -> Iterator[None]:
    """Have every machine of a target with a provider; what is done within is the deploy.

    What was rented for it stays when the deploy fails, since the next one goes on with it. That it costs on is said;
    and that a machine is lost, where that is why.
    """
    if not session.itself.target.provider:
        yield
        return
    from provision.rollout.lost import explained

    new = []
    with session.console.live():
        for machine, is_new in session.itself.machines.rent():
            text = f"machine {machine.id} is rented, for ${machine.per_hour:.3f} an hour"
            session.console.event({"event": "message", "host": "", "phase": "rent", "text": text})
            new += [machine] if is_new else []
    try:
        with explained(session.itself):
            yield
    except BaseException:
        several = len(session.itself.loaded.declaration.values["targets"]) > 1
        target = f" --target {session.itself.target_name}" if several else ""
        for machine in new:
            text = (
                f"machine {machine.id} stays and costs on, ${machine.per_hour:.3f} an hour: deploy up{target} goes on "
                f"with it, deploy machine destroy {machine.id}{target} gives it back"
            )
            session.console.event({"event": "warning", "host": "", "text": text})
        raise
