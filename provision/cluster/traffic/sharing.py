"""What a transaction makes of a canary's share and of a rollout, by the same rules as on hosts (`contract.shared`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from provision.cluster.kept.inventory import Inventory
from provision.contract import rollout as contract
from provision.contract import shared
from provision.contract.failure import Failure
from provision.contract.slots import CANARY
from provision.errors import Refused

if TYPE_CHECKING:
    from provision.contract.rollout import RolloutAsked, RolloutNote, RolloutRecord


@dataclass(frozen=True)
class Sharing:
    """What is asked for.

    Args:
        given: the share that the canary gets by hand.
        steps: a rollout that begins.
        aborts: whether one that is under way ends.
        of: the rollout whose canary is promoted.
    """

    given: float | None = None
    steps: RolloutAsked | None = None
    aborts: bool = False
    of: str = ""

    def first(self) -> float | None:
        """The share that the canary has to be given at once; None where nothing is said of it."""
        return self.steps["document"]["steps"][0] if self.steps and self.given is None else self.given


def demand(before: Inventory, kind: str, channel: str, release: str, asked: Sharing) -> None:
    """Refuse an `up` while a rollout is under way, and the promotion of one that has ended since.

    Raises:
        Refused: names it, and the ways out.
    """
    record = before.rollout
    if asked.of and (record is None or record["id"] != asked.of or not contract.is_under_way(record)):
        raise Refused("somebody else has just ended the rollout.", next_step="deploy traffic")
    with as_refused():
        shared.demand_free(record, kind, channel, release, asked.steps, asked.given, aborts=asked.aborts)


def after(
    before: Inventory, kind: str, channels: Mapping[str, str], who: str, asked: Sharing, keep: int = 0
) -> Inventory:
    """`before` with the channels, shares and rollout that it has after a transaction."""
    steps = asked.steps if asked.given is None else None
    release = channels.get(CANARY, "")
    begins = contract.begun(steps, uuid4().hex, release, who, keep) if steps else None
    changed = shared.after(
        before, kind, channels, who, time.time(), begins=begins, given=asked.given, aborts=asked.aborts
    )
    return replace(before, channels=dict(channels), shares=changed.shares, rollout=changed.rollout)


def note(before: Inventory, new: Inventory) -> RolloutNote | None:
    """What the history says of a rollout that has changed."""
    if new.rollout is None or new.rollout == before.rollout:
        return None
    return contract.note(new.rollout, [])


def without_steps(record: RolloutRecord | None) -> None:
    """Refuse a share by hand while a rollout gives the canary its shares.

    Raises:
        Refused: one does.
    """
    with as_refused():
        shared.demand_no_steps(record)


@contextmanager
def as_refused() -> Iterator[None]:
    """What both sides of a connection know how to refuse, as this side says it."""
    try:
        yield
    except Failure as failure:
        raise Refused(failure.what, why=failure.why, next_step=failure.next_step) from None
