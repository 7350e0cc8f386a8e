"""What users saw since a rollout's step began, and what follows from that.

Written down now and then, so that the next keeper goes on with it. A proposal is a file as well: who carries it out
compares it with the state, under the lock.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Dict, List, Optional, Tuple, TypedDict, cast

from ...contract import rollout
from ...contract.layout import Layout
from ...contract.rollout import FindingDocument, RolloutRecord
from ...contract.slots import CANARY, STABLE
from .. import files
from ..analysis import Decision, Move, Seen, Sketch, Tokens, decide, forecast
from ..analysis.seen import SeenDocument
from ..front.log import Served
from .clock import ClockDocument, StepClock

_SEEN = "step.json"
_PROPOSED = "decision.json"

Step = Tuple[str, int, float]  # the rollout, its step, when that began


class Proposal(TypedDict):
    """What the keeper found that a step should become."""

    id: str
    step: int
    began: float
    move: str
    why: str
    findings: List[FindingDocument]


class _SeenOf(TypedDict):
    step: List[object]
    seen: Dict[str, SeenDocument]


class _SeenFile(_SeenOf, total=False):
    clock: ClockDocument


class Judging:
    """The step that goes on, of the rollout that a state has."""

    def __init__(self, layout: Layout, clock: Optional[StepClock] = None) -> None:
        self._folder = layout.traffic
        self._clock = clock or StepClock()
        self._record: Optional[RolloutRecord] = None
        self._step: Optional[Step] = None
        self._seen: Dict[str, Seen] = {}
        self._tokens: Dict[str, Dict[str, Tokens]] = {}  # service -> lane -> as of the last comparison
        self.last: Optional[Decision] = None

    def become(self, record: Optional[RolloutRecord]) -> None:
        """Go by what the state says now."""
        self._record = record if record is not None and record["status"] == rollout.RUNNING else None
        if record is None or not rollout.is_under_way(record) or not rollout.has_begun(record):
            self._step, self._seen, self.last = None, {}, None
        elif step_of(record) != self._step:
            self._step, self._tokens, self.last = step_of(record), {}, None
            kept, clock = self._kept()
            self._clock.start(record, clock)
            self._seen = {
                name: kept.get(name) or Seen(paces=Sketch() if name in record["engines"] else None)
                for name in record["services"]
            }
        self._clock.run(self.is_on)

    @property
    def is_on(self) -> bool:
        """Whether a step goes on, and its clock."""
        return self._record is not None

    def count(self, served: Served) -> None:
        """One request that has ended. Who came before the step began had other chances."""
        if self._record is None or not self._clock.has_begun_at(served.at):
            return
        seen = self._seen.get(served.service)
        lane = {CANARY: seen.canary, STABLE: seen.stable}.get(served.lane) if seen else None
        if lane:
            lane.add(served.failed, served.first_byte)

    def compare(self, tokens: Dict[str, Dict[str, Tokens]]) -> None:
        """Compare what the engines of both lanes made since the last time: service -> lane -> counters."""
        before, self._tokens = self._tokens, tokens
        for service, lanes in tokens.items() if self.is_on else ():
            earlier, seen = before.get(service, {}), self._seen.get(service)
            if seen and {CANARY, STABLE} <= lanes.keys() & earlier.keys():
                seen.compare_paces(lanes[CANARY], earlier[CANARY], lanes[STABLE], earlier[STABLE])

    @property
    def seconds(self) -> Optional[float]:
        """How long the step has gone on; None where there is none."""
        return self._clock.seconds if self._step is not None else None

    def judge(self) -> Optional[Decision]:
        """What comes next; None where no step goes on."""
        if self._record is not None:
            record = self._record
            self.last = decide(record["document"], record["step"], self._clock.seconds, self._seen)
            return self.last
        return None

    def says(self) -> str:
        """What the step waits for, in a sentence; it takes a moment to compute."""
        if self._record is None or self.last is None:
            return ""
        seconds = self._clock.seconds
        if self.last.move is Move.WAIT and seconds >= self._record["document"]["each"]:
            return forecast(self._record["document"], seconds, self._seen)
        return self.last.why

    def flush(self) -> None:
        """Write down what was seen; a full disk costs that and nothing else."""
        if self._step is None:
            return
        kept: _SeenFile = {
            "step": list(self._step),
            "seen": {name: each.as_dict() for name, each in self._seen.items()},
            "clock": self._clock.as_dict(),
        }
        with contextlib.suppress(OSError):
            files.write(os.path.join(self._folder, _SEEN), json.dumps(kept), 0o600)

    def propose(self, decision: Decision) -> None:
        """Let whoever takes the step know."""
        assert self._record is not None  # noqa: S101  it was decided upon
        proposal: Proposal = {
            "id": self._record["id"],
            "step": self._record["step"],
            "began": self._record["began"],
            "move": decision.move.value,
            "why": decision.why,
            "findings": told(decision),
        }
        files.write_json(os.path.join(self._folder, _PROPOSED), proposal, 0o600)

    def _kept(self) -> Tuple[Dict[str, Seen], Optional[ClockDocument]]:
        """What an earlier keeper saw of this very step, and how long that had gone on."""
        value = cast("Optional[_SeenFile]", files.read_plain_json(os.path.join(self._folder, _SEEN)))
        try:
            if value is None or self._step is None or value["step"] != list(self._step):
                return {}, None
            return {name: Seen.from_dict(each) for name, each in value["seen"].items()}, value.get("clock")
        except (KeyError, TypeError, ValueError, AttributeError):
            return {}, None


def step_of(record: RolloutRecord) -> Step:
    """Which step of which rollout it is at."""
    return record["id"], record["step"], record["began"]


def told(decision: Optional[Decision]) -> List[FindingDocument]:
    """Its findings, as they travel."""
    return [
        {"service": each.service, "limit": each.limit, "verdict": each.verdict.value, "says": each.says}
        for each in (decision.findings if decision else ())
    ]


def proposed(layout: Layout, record: RolloutRecord) -> Optional[Proposal]:
    """What was found of the step that a rollout is at; None where that was of another one."""
    value = cast("Optional[Proposal]", files.read_plain_json(os.path.join(layout.traffic, _PROPOSED)))
    if value is None or (value["id"], value["step"], value["began"]) != step_of(record):
        return None
    return value
