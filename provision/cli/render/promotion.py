"""A move of a channel, as lines and as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provision.cli.console import Console
from provision.cli.render.image import finding_event, finding_line
from provision.contract.outcome import COMMITTED, UNCHANGED
from provision.images.promotion.move import PlannedMove

_PLANNED = "planned"


def show_plan(console: Console, plan: PlannedMove) -> None:
    """What is about to happen."""
    console.answer({"event": "promotion", **_facts(plan), "objections": list(plan.objections)}, _lines(plan))


def show_done(console: Console, plan: PlannedMove, *, dry_run: bool) -> None:
    """How it ended; what failed is an exception."""
    outcome = UNCHANGED if plan.is_needless else _PLANNED if dry_run else COMMITTED
    said = {
        UNCHANGED: f"unchanged, {plan.channel} is there already",
        _PLANNED: "nothing speaks against it; nothing was changed",
        COMMITTED: f"done, {plan.channel} is {plan.image.digest}",
    }
    facts = _facts(plan)
    del facts["evidence"]
    console.answer({"event": "result", "outcome": outcome, **facts}, said[outcome])


def _facts(plan: PlannedMove) -> dict[str, Any]:
    return {
        "kind": plan.kind,
        "image": str(plan.target),
        "channel": plan.channel,
        "from": f"{plan.source}{'@' if ':' in plan.origin else ':'}{plan.origin}",
        "old": plan.old,
        "new": plan.image.digest,
        "evidence": [finding_event(item) for item in plan.found],
    }


def _lines(plan: PlannedMove) -> Iterator[str]:
    yield f"{plan.kind} {plan.target}:{plan.channel}"
    yield f"  is   {plan.old or 'nothing yet'}"
    if plan.old and plan.history.moves and plan.history.since(plan.old) is None:
        yield "       which is not what its history says last: a move broke off, or somebody else put it there"
    yield f"  to   {plan.image.digest} ({plan.source}{'' if ':' in plan.origin else ':' + plan.origin})"
    for item in plan.found:
        yield f"  {finding_line(item)}"
    for objection in plan.objections:
        yield f"  against it: {objection}"
