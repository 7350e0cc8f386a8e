"""A change of who gets how much: a transaction that touches no program, and so takes milliseconds.

Its journal has the whole state of before and of after, as any other's; the front becomes what one of them says. It
holds the project's lock alone: HAProxy is the project's own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Sequence

from ..contract.failure import FAILED, PUT_BACK, Failure
from ..contract.layout import Layout
from ..contract.outcome import COMMITTED, UNCHANGED
from ..contract.state import State
from . import files, journal, traffic
from .booted import boot_id
from .documents import read_documents
from .ending import finish

if TYPE_CHECKING:
    from ..contract.answers import Transacted
    from ..contract.records import Begin
    from ..contract.rollout import FindingDocument


def change(
    layout: Layout,
    transaction: str,
    kind: str,
    who: str,
    agent: str,
    before: State,
    after: State,
    findings: Sequence[FindingDocument] = (),
) -> Transacted:
    """Let requests be shared as `after` says. The caller holds the project's lock, and no journal is open.

    Args:
        after: `before` with other shares, or another word on a rollout.

    Raises:
        Failure: it can't be; then all is as before.
    """
    after = after._replace(sequence=before.sequence + 1)
    begin: Begin = {
        "step": journal.BEGIN,
        "transaction": transaction,
        "kind": kind,
        "who": who,
        "agent": agent,
        "before": before.as_dict(),
        "after": after.as_dict(),
        "candidates": {},
        "running": {},
        "boot": boot_id(),
        "time": time.time(),
        "findings": list(findings),
    }
    lines = journal.Journal(layout.journal)
    try:
        lines.begin(begin)
        lines.add({"step": journal.TRAFFIC})
        become(layout, after)
        lines.add({"step": journal.COMMIT})
    except (Failure, OSError) as error:
        undo(layout, before)
        raise Failure(PUT_BACK, f"requests could not be shared anew: {error}", "They are shared as before.") from None
    finish(layout, before, after, begin, lambda: None)
    return told(COMMITTED, after)


def undo(layout: Layout, before: State) -> None:
    """Let requests be shared as `before` says, and end the journal. May be repeated."""
    become(layout, before)
    files.remove(layout.reserve)
    journal.Journal(layout.journal).end()


def told(outcome: str, state: State) -> Transacted:
    """How it ended, for who asked."""
    return {
        "event": "result",
        "outcome": outcome,
        "generation": state.generation,
        "channels": dict(state.channels),
        "shares": dict(state.shares),
        "rollout": state.rollout,
    }


def unchanged(state: State) -> Transacted:
    """It is so already."""
    return told(UNCHANGED, state)


def become(layout: Layout, state: State) -> None:
    """Let requests be shared as `state` says.

    Raises:
        Failure: they can't be.
    """
    documents = read_documents(layout, state.releases())
    front = traffic.front_of(layout, state, documents)
    if front is None:
        raise Failure(FAILED, "nothing stands before the programs here.")
    traffic.become(layout, front)
