"""What comes next in a rollout. Whoever takes the step has the clock, the state and the front."""

from __future__ import annotations

from enum import Enum
from typing import List, Mapping, NamedTuple

from ...contract.rollout import ABORT, PROMOTE, RolloutDocument
from .seen import Seen
from .verdict import Finding, Verdict, judge, requests_needed, worst


class Move(Enum):
    WAIT = "wait"  # the step goes on
    HOLD = "hold"  # it keeps its share until somebody says what becomes of it
    ADVANCE = "advance"  # the next step begins
    PROMOTE = "promote"  # that was the last one
    ABORT = "abort"  # stable gets all requests again


class Decision(NamedTuple):
    move: Move
    why: str  # a sentence, for the history and for who watches
    findings: List[Finding]


def decide(rollout: RolloutDocument, step: int, seconds: float, seen: Mapping[str, Seen]) -> Decision:
    """What comes next.

    Args:
        step: counted from 0.
        seconds: since it began, without what it was paused for.
        seen: service -> what was seen since then.
    """
    return decided(rollout, step, seconds, seen, judge(rollout["abort"], seen, len(rollout["steps"])))


def decided(
    rollout: RolloutDocument, step: int, seconds: float, seen: Mapping[str, Seen], findings: List[Finding]
) -> Decision:
    """What comes next, of a step of which that was found."""
    verdict = worst(findings)
    on = Move.PROMOTE if step + 1 >= len(rollout["steps"]) else Move.ADVANCE
    of = f"step {step + 1} of {len(rollout['steps'])} ({rollout['steps'][step] * 100:.3g} %)"
    if verdict is Verdict.WORSE:
        return Decision(Move.ABORT, f"{of}: {_said(findings, verdict)}.", findings)
    if seconds < rollout["each"]:
        return Decision(Move.WAIT, f"{of}: {_minutes(rollout['each'] - seconds)} left.", findings)
    if verdict is Verdict.FINE:
        return Decision(on, f"{of}: {_said(findings, verdict) or 'its time is over'}.", findings)
    if seconds < rollout["at_most"]:
        return Decision(
            Move.WAIT,
            f"{of}: {_too_few(seconds, seen)}; at most {_minutes(rollout['at_most'] - seconds)} left.",
            findings,
        )
    why = f"{of}: nothing can be said after {_minutes(seconds)}: {_said(findings, verdict)}."
    move = {ABORT: Move.ABORT, PROMOTE: on}.get(rollout["undecided"], Move.HOLD)
    return Decision(move, f'{why} undecided = "{rollout["undecided"]}" says what follows.', findings)


def _said(findings: List[Finding], verdict: Verdict) -> str:
    return "; ".join(each.says for each in findings if each.verdict is verdict)


def forecast(rollout: RolloutDocument, seconds: float, seen: Mapping[str, Seen]) -> str:
    """What a step that waits is waiting for, in a sentence for whoever watches; takes a moment to compute."""
    requests, left = _asked(seen), rollout["at_most"] - seconds
    needed = requests_needed(rollout["abort"], seen, len(rollout["steps"]))
    if needed is None:
        return f"{_too_few(seconds, seen)}, and it can't be told how many would do."
    takes = max(0.0, (needed - requests) * seconds / requests)
    late = f", and this step ends in {_minutes(left)}" if takes > left else ""
    return f"{_too_few(seconds, seen)}; should it go on like this, {needed} will do, in {_minutes(takes)}{late}."


def _too_few(seconds: float, seen: Mapping[str, Seen]) -> str:
    return f"the canary had {_asked(seen)} requests in {_minutes(seconds)}, too few to say"


def _asked(seen: Mapping[str, Seen]) -> int:
    return sum(each.canary.requests for each in seen.values())


def _minutes(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
