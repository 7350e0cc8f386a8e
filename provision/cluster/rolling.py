"""A rollout in a cluster: its record is in the inventory, and whoever watches takes its steps, each under the lock.

Nothing of ours runs there, so a laptop that goes leaves weights as they are, and the next one that watches goes on:
what was counted is in Prometheus, whose clock is everybody's. A step is in the record before its weights are set, and
begins once they are. The rules are those of hosts (`contract.rollout`), and so are the statistics.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from provision.agent.analysis import Decision, Move
from provision.cluster.kept.inventory import Inventory
from provision.cluster.kept.lease import held
from provision.cluster.traffic.figures import Both, Counting
from provision.cluster.traffic.sharing import as_refused
from provision.cluster.traffic.verdicts import decide, documents, waits_for
from provision.cluster.traffic.weighing import Weighing
from provision.contract import rollout as contract
from provision.contract.slots import CANARY, STABLE
from provision.errors import DeployError, PutBack, Refused
from provision.project.traffic import counts_tokens

if TYPE_CHECKING:
    from provision.cluster.project_there import ProjectThere
    from provision.contract.rollout import FindingDocument, RolloutNote, RolloutRecord
    from provision.contract.seen import RolloutSeen

_KIND = "rollout"  # of entries in the history


def channel_by_itself(there: ProjectThere) -> str:
    """Where an `up` goes that names no channel: to a canary where steps are declared and something else serves."""
    if not there.target.rollout.steps or not there.demand_namespace():
        return STABLE
    serves = there.book.read().channels.get(STABLE)
    return CANARY if serves not in (None, there.release.id) else STABLE


def look(there: ProjectThere) -> RolloutSeen:
    """How it stands; a step that is due is taken.

    Raises:
        Refused: there is none.
        Unreachable: Prometheus does not answer; all stays as it is.
    """
    known = there.book.read() if there.demand_namespace() else Inventory()
    record = known.rollout
    if record is None:
        raise Refused(
            "no rollout is under way here.", host=there.name, next_step="deploy up, where the target declares steps"
        )
    if record["status"] == contract.RUNNING and not record["began"]:
        record = _begin(there, record, prometheus(there))
    seen, decision, now = _judged(there, known, record)
    if decision and decision.move is not Move.WAIT:
        record = _take(there, record, decision, now, seen["findings"])
        return {"record": record, "seconds": 0.0, "says": record["why"], "findings": seen["findings"]}
    return seen


def looked_at(there: ProjectThere, known: Inventory) -> RolloutSeen | None:
    """How it stands, for who only looks: a step that is due is left to who watches; None where there is none."""
    if known.rollout is None:
        return None
    seen, decision, _ = _judged(there, known, known.rollout)
    if decision and decision.move is not Move.WAIT:
        return {**seen, "says": f"{decision.why} Nobody watches who takes this step: deploy rollout watch"}
    return seen


def _judged(there: ProjectThere, known: Inventory, record: RolloutRecord) -> tuple[RolloutSeen, Decision | None, float]:
    """How it stands by what was counted, what follows, and when that is."""
    if record["status"] != contract.RUNNING or not record["began"]:
        now = time.time() if not contract.is_under_way(record) else _clock(there, record)
        seconds = contract.seconds(record, now)
        return {"record": record, "seconds": seconds, "says": record["why"], "findings": []}, None, now
    counts = prometheus(there)
    now = counts.now()
    seconds = contract.seconds(record, now)
    counted = _counted(there, known, counts, record["began"], now)
    if "tokens_per_second" in record["document"]["abort"]:
        counted = _with_paces(there, known, counts, counted, record["began"], now)
    decision = decide(record["document"], record["step"], seconds, counted)
    says = decision.why
    if decision.move is Move.WAIT and seconds >= record["document"]["each"]:
        says = waits_for(record["document"], seconds, counted)
    return {"record": record, "seconds": seconds, "says": says, "findings": documents(decision)}, decision, now


def steer(there: ProjectThere, action: str) -> tuple[str, Inventory]:
    """Pause, resume or abort the rollout; how that ended, and what is known then.

    Raises:
        Refused: there is none that this can be done to.
    """
    there.demand_namespace()
    with _changing(there) as weighing:
        before = there.book.read()
        now = _clock(there, before.rollout)
        with as_refused():
            record = contract.steered(before.rollout, action, there.who, now)
        if record is None:
            return "unchanged", weighing.place(before)
        return "committed", _write(there, weighing, before, record, [])


def ended(there: ProjectThere, id_: str) -> RolloutNote | None:
    """How a rollout ended of which the inventory does not speak any more, as its history has it."""
    notes = (entry.rollout for entry in reversed(there.book.read().history))
    return next((note for note in notes if note and note["id"] == id_), None)


def _begin(there: ProjectThere, record: RolloutRecord, counts: Counting) -> RolloutRecord:
    """Its weights are set, also after a laptop that died before; so the step begins."""
    with _changing(there) as weighing:
        before = there.book.read()
        if not _is_still(before.rollout, record):
            raise Refused("somebody else has just changed the rollout.", next_step="deploy rollout watch")
        before = weighing.place(before)
        dated = contract.dated(record, counts.now())
        there.book.write(replace(before, rollout=dated))
        return dated


def _take(
    there: ProjectThere, record: RolloutRecord, decision: Decision, now: float, findings: list[FindingDocument]
) -> RolloutRecord:
    """The step that was decided; what the record is then."""
    why = decision.why
    if decision.move is Move.PROMOTE and not record["evidence"]:
        return _promote(there, record, why, now)
    turned = {
        Move.PROMOTE: contract.PASSED,
        Move.ABORT: contract.ABORTED,
        Move.HOLD: contract.HELD,
    }
    new = (
        contract.advanced(record, why)
        if decision.move is Move.ADVANCE
        else contract.turned(record, turned[decision.move], why, now)
    )
    with _changing(there) as weighing:
        before = there.book.read()
        if not _is_still(before.rollout, record):
            return before.rollout or record  # somebody else has taken it, or stopped it
        return _write(there, weighing, before, new, findings).rollout or new


def _promote(there: ProjectThere, record: RolloutRecord, why: str, now: float) -> RolloutRecord:
    """Bring the canary to everybody; where that fails, it keeps its share until somebody says what follows."""
    from provision.cluster import moves

    try:
        done = moves.promote(there, record["id"])
    except PutBack as error:
        held_ = contract.turned(record, contract.HELD, f"{why} It could not be promoted: {error.what}", now)
        with _changing(there) as weighing:
            before = there.book.read()
            if before.rollout and before.rollout["id"] == record["id"] and contract.is_under_way(before.rollout):
                _write(there, weighing, before, held_, [])
        return held_
    return done.inventory.rollout or record


def _write(
    there: ProjectThere,
    weighing: Weighing,
    before: Inventory,
    record: RolloutRecord,
    findings: list[FindingDocument],
) -> Inventory:
    """With another record, and the share that the canary has by it."""
    share = 0.0 if record["status"] == contract.ABORTED else contract.share(record)
    new = replace(before, rollout=record, shares={**before.shares, CANARY: share})
    note = contract.note(record, findings)
    return weighing.place(there.book.write(new.ended(_KIND, CANARY, "committed", there.who, record["why"], note)))


def _is_still(now: RolloutRecord | None, record: RolloutRecord) -> bool:
    """Whether nobody has moved or stopped it since it was looked at."""
    same = ("id", "step", "began", "status")
    return now is not None and all(now[key] == record[key] for key in same)  # type: ignore[literal-required]


def figures(there: ProjectThere, known: Inventory, minutes: int) -> Mapping[str, Both]:
    """What users saw of each service that requests come to by routes; nothing where nobody counts, or no canary is."""
    if not there.target.rollout.prometheus or {CANARY, STABLE} - known.channels.keys():
        return {}
    counts = prometheus(there)
    now = counts.now()
    return _counted(there, known, counts, now - minutes * 60, now)


def _counted(there: ProjectThere, known: Inventory, counts: Counting, began: float, now: float) -> Mapping[str, Both]:
    weighing = Weighing(there.api, there.book, there.project.name, there.tell)
    return {
        pair.service: counts.counted(pair.canary, pair.stable, names, began, now) for pair, names in weighing.led(known)
    }


def _with_paces(
    there: ProjectThere, known: Inventory, counts: Counting, counted: Mapping[str, Both], began: float, now: float
) -> Mapping[str, Both]:
    """With what engines themselves say of their tokens."""
    weighing = Weighing(there.api, there.book, there.project.name, there.tell)
    found = dict(counted)
    for pair, _ in weighing.led(known):
        service = there.project.services.get(pair.service)
        is_engine = service is not None and counts_tokens(service)
        paces = counts.paces(pair.canary, pair.stable, began, now, is_engine=is_engine)
        found[pair.service] = replace(found[pair.service], paces=paces)
    return found


def prometheus(there: ProjectThere) -> Counting:
    """What the one counts that the target names."""
    return Counting(there.prometheus, there.target.rollout.figures, there.api.namespace)


def _clock(there: ProjectThere, record: RolloutRecord | None) -> float:
    """Prometheus', by which steps are timed; of this machine, where that is away: nobody is kept from aborting."""
    try:
        return prometheus(there).now() if record else time.time()
    except DeployError:
        return time.time()


@contextmanager
def _changing(there: ProjectThere) -> Iterator[Weighing]:
    def tell(event: dict[str, object]) -> None:
        there.tell({**event, "host": there.name})

    with held(there.api, there.project.name, there.who, tell):
        yield Weighing(there.api, there.book, there.project.name, tell)
