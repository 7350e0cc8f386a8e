"""What follows from what was counted: the statistics of hosts (`agent.analysis`), with times that are known roughly.

A histogram says between which edges a time lies. So what is *worse* has to be so at the kindest of all times that it
may have been, and what is *fine* at the hardest; what lies between is open. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from provision.agent.analysis import Decision, Finding, Verdict, forecast
from provision.agent.analysis.steps import decided
from provision.agent.analysis.verdict import judge

if TYPE_CHECKING:
    from provision.agent.analysis import Seen
    from provision.cluster.traffic.figures import Both
    from provision.contract.rollout import FindingDocument, RolloutDocument


def decide(rollout: RolloutDocument, step: int, seconds: float, counted: Mapping[str, Both]) -> Decision:
    """What comes next. See `agent.analysis.decide`."""
    limits, steps = rollout["abort"], len(rollout["steps"])
    kind, hard, told = (
        judge(limits, seen, steps)
        for seen in (
            {name: each.against for name, each in counted.items()},
            {name: each.for_it for name, each in counted.items()},
            _told(counted),
        )
    )
    findings = [_of(*each) for each in zip(kind, hard, told, strict=True)]
    return decided(rollout, step, seconds, _told(counted), findings)


def _of(kind: Finding, hard: Finding, told: Finding) -> Finding:
    worse, fine = kind.verdict is Verdict.WORSE, hard.verdict is Verdict.FINE
    verdict = Verdict.WORSE if worse else Verdict.FINE if fine else Verdict.OPEN
    return told._replace(verdict=verdict, says=told.says.replace("began within", "took at most"))


def waits_for(rollout: RolloutDocument, seconds: float, counted: Mapping[str, Both]) -> str:
    """What a step waits for, in a sentence."""
    return forecast(rollout, seconds, {name: each.for_it for name, each in counted.items()})


def documents(decision: Decision | None) -> list[FindingDocument]:
    return [
        {"service": each.service, "limit": each.limit, "verdict": each.verdict.value, "says": each.says}
        for each in (decision.findings if decision else ())
    ]


def _told(counted: Mapping[str, Both]) -> dict[str, Seen]:
    return {name: each.told for name, each in counted.items()}
