"""A host on which the target's folder can't be trusted: what is done there goes by what its supervisor shows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, TypeVar

from provision.contract.answers import Done, Down
from provision.plan import Plan
from provision.targets.outcomes import HostOutcome, ended

if TYPE_CHECKING:
    from provision.targets.conversation import Interrupt
    from provision.targets.host import HostConversation


A = TypeVar("A", bound=Done)


def ask_outside(session: HostConversation, op: Literal["down-outside", "mend"], expected: type[A]) -> A:
    """Ask for what is done although nothing there can be believed."""
    deployment = session.deployment
    with session.phase("transaction"):
        return session.conversation.ask(
            {
                "op": op,
                "outside": True,
                "platform": str(deployment.target.platform),
                "supervisor": deployment.supervisor,
            },
            expected,
        )


def down_outside(session: HostConversation, interrupt: Interrupt | None) -> HostOutcome:
    """End everything of the project that the supervisor has."""
    with interrupt.held(session.spec.name) if interrupt else contextlib.nullcontext():
        answer = ask_outside(session, "down-outside", Down)
    return ended(session, answer["outcome"], Plan("down", "stable", release="", current="", generation=0))
