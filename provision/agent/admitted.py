"""Whether a transaction may begin: it has both locks, none is open, and the host is what the plan was made for."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator, Optional, Sequence

from ..contract import devices, on_purpose
from ..contract.failure import REFUSED, Failure, NewerHost
from ..contract.layout import Layout
from ..contract.state import State
from ..contract.steps import Step
from . import files, recover
from .ending import settle
from .folders import host_folder
from .locks import Lock, refuse

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.holder import Holder
    from ..contract.release import ReleaseDocument
    from ..contract.requests import PlannedStep

_HOST_LOCK_SECONDS = 600.0  # another project's transaction on the same supervisor is waited for
_PROJECT_LOCK_SECONDS = 3.0  # the last one may still be pruning


@contextmanager
def locked(layout: Layout, transaction: str, who: str, kind: str, emit: Emit) -> Iterator[None]:
    """Have the project's lock and the host's; given back also where all is refused: who asked may have more to do."""
    holder: Holder = {"who": who, "doing": kind, "transaction": transaction}
    project, host = Lock(layout.lock), Lock(os.path.join(host_folder(), "lock"))
    if not project.take(holder, _PROJECT_LOCK_SECONDS):
        raise refuse("another transaction of this project is running.", project.holder() or {})
    files.make_folder(host_folder())
    holder["project"] = layout.root
    if not host.take(holder):
        emit({"event": "step", "step": "wait", "program": "", "detail": "for another project's transaction"})
        if not host.take(holder, _HOST_LOCK_SECONDS):
            raise refuse("another project's transaction keeps this host busy.", host.holder() or {})
    try:
        yield
    finally:
        host.release()
        project.release()


def same_generation(before: State, planned: Optional[int]) -> None:
    if planned is not None and before.generation != planned:
        raise Failure(
            REFUSED,
            f"somebody deployed since: the plan is for generation {planned}, the host is at {before.generation}.",
            next_step="look at it with: deploy status; then deploy plan, and deploy up again",
        )


def end_open_transaction(layout: Layout, agent: str, kind: str, emit: Emit) -> bool:
    """Whether an older transaction is open that can neither be finished nor undone.

    Raises:
        Failure: then what is to be done is refused, for it goes by what runs.
    """
    if not os.path.exists(layout.journal):
        settle(layout)
        return False
    emit({"event": "step", "step": "recover", "program": "", "detail": "an interrupted transaction"})
    try:
        done = recover.recover(layout, agent, emit)
    except NewerHost:
        raise
    except (Failure, OSError) as failure:
        if kind in on_purpose.KINDS:
            why = f"What runs is not surely what was deployed: {failure}"
            next_step = "deploy up, or deploy rollback"
            raise Failure(REFUSED, f"this host is degraded, so there is nothing to {kind}.", why, next_step) from None
        emit(
            {"event": "warning", "text": f"the interrupted transaction can't be undone: {failure}; going on from here"}
        )
        return True
    emit({"event": "recovered", "outcome": done})
    settle(layout)
    return False


def same_as_planned(steps: Sequence[Step], planned: Optional[Sequence[PlannedStep]]) -> None:
    """The plan that was shown is the one that is applied."""
    if planned is None:
        return
    now = {step.program: _told(step.as_dict()) for step in steps}
    then = {step["program"]: _told(step) for step in planned}
    if now != then:
        changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        raise Failure(
            REFUSED,
            "the host changed since the plan was made: {}.".format(
                ", ".join(
                    f"{name} (planned: {then.get(name, 'nothing')}, now: {now.get(name, 'nothing')})"
                    for name in changed
                )
            ),
            next_step="deploy plan, and deploy up again",
        )


def _told(step: PlannedStep) -> str:
    """What is done to a program, for a sentence."""
    return " ".join([step["do"], *(f"on {devices.short(uuid)}" for uuid in step.get("devices", ()))])


def is_meant_for(document: ReleaseDocument, release: str, project: str, platform: str) -> None:
    """A release of before another project, or another supervisor, took the place is none to go back to."""
    for what, meant, here in (("project", document["project"], project), ("platform", document["platform"], platform)):
        if meant != here:
            raise Failure(
                REFUSED, f"release {release[:12]} is of {what} {meant!r}, and this is {here!r}.", next_step="deploy up"
            )
