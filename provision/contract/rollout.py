"""How a canary gets its share of the requests, and what its users may see: declared by [targets.NAME.rollout].

A rollout that is under way is a record in the state. It holds no lock: the keeper, who is at home on the host, takes
each of its steps in a transaction of its own, and nothing else changes the record. All of this is pure.
"""

from __future__ import annotations

from typing import List, Literal, Optional, TypedDict

from .failure import REFUSED, Failure

HOLD, PROMOTE, ABORT = "hold", "promote", "abort"  # what becomes of a step that nothing can be said of

WAITING = "waiting"  # its first step begins when other hosts have promoted the release
RUNNING = "running"  # its step goes on
PAUSED = "paused"  # somebody stopped its clock
HELD = "held"  # nothing can be said, or it could not be promoted: it keeps its share until somebody says what follows
PASSED = "passed"  # the last step is over, and somebody has to promote: to sign it, or because no keeper can
PROMOTED = "promoted"
ABORTED = "aborted"  # the canary has no share any more, and stays on its channel
_NAMED = 3  # hosts, in a sentence
UNDER_WAY = (WAITING, RUNNING, PAUSED, HELD, PASSED)

PAUSE, RESUME = "pause", "resume"
BEGIN = "begin"  # what has waited for other hosts


class LimitsDocument(TypedDict, total=False):
    """What ends a rollout; what is left out does not."""

    errors: float  # the share of requests that may fail, beyond stable's: 0.02 is two of a hundred
    slower: float  # how much longer half of all answers may take to their first byte than stable's: 0.25 is a quarter
    ttft_p95: float  # seconds within which 95 of 100 answers begin, or within which stable's do
    tokens_per_second: float  # how far below stable's half of all comparisons may lie: -0.2 is a fifth


class RolloutDocument(TypedDict):
    """The steps of a rollout on one host."""

    steps: List[float]  # shares of the requests, growing; after the last the canary is promoted
    each: float  # seconds that a step takes at least
    at_most: float  # seconds after which a step of which nothing can be said ends
    undecided: str  # HOLD, PROMOTE (as if nothing was wrong with it) or ABORT
    abort: LimitsDocument


class _Asked(TypedDict):
    document: RolloutDocument
    evidence: bool  # whether it ends in `PASSED`, because a promotion needs somebody's signature


class RolloutAsked(_Asked, total=False):
    """That an `up` of a canary begins a rollout."""

    waits_for: List[str]  # the hosts that promote it first, by the names that the target has for them
    by_somebody: bool  # whether it ends in `PASSED` even so: its programs are containers, which no keeper can change


class _Record(TypedDict):
    id: str  # the transaction that began it: one release may be rolled out twice
    release: str
    document: RolloutDocument
    evidence: bool
    services: List[str]  # that are judged: requests come to their programs of both lanes
    engines: List[str]  # those among them that tell how many tokens they made
    who: str  # began it
    keep: int  # as of the transaction that began it, for the one that promotes
    step: int  # counted from 0
    began: float  # this step, in seconds since 1970; 0 until it is committed
    paused: float  # seconds of it that do not count
    status: str  # as above
    since: float  # when it got that status
    why: str  # a sentence


class RolloutRecord(_Record, total=False):
    """A rollout of the release that the channel canary has, as the state has it."""

    waits_for: List[str]  # as it was asked for
    by_somebody: bool  # likewise


class FindingDocument(TypedDict):
    """One limit, held against what the users of one service saw."""

    service: str
    limit: str  # a key of LimitsDocument
    verdict: str  # fine, worse, open
    says: str  # a sentence with the figures


class RolloutNote(TypedDict):
    """What a transaction did to a rollout, as the history has it."""

    id: str
    release: str
    step: int  # that it is at afterwards, counted from 0
    steps: int
    status: str  # afterwards
    why: str
    findings: List[FindingDocument]


class Weigh(TypedDict):
    """Give the canary a share of the clients by hand, from now on and until another release is the canary."""

    op: Literal["weigh"]
    share: float  # 0.05 is five clients of a hundred


class _Steer(TypedDict):
    op: Literal["rollout"]
    action: Literal["pause", "resume", "begin", "abort", "promote"]


class SteerRollout(_Steer, total=False):
    """What becomes of the rollout that is under way. A promotion that needs evidence is a transaction of its own."""

    id: str  # of the rollout that is meant; left out: whichever is under way
    why: str  # it ends, in a sentence


def begun(asked: RolloutAsked, transaction: str, release: str, who: str, keep: int) -> RolloutRecord:
    """A rollout at its first step; which services it judges is said once its programs are known."""
    record: RolloutRecord = {
        "id": transaction,
        "release": release,
        "document": asked["document"],
        "evidence": asked["evidence"],
        "services": [],
        "engines": [],
        "who": who,
        "keep": keep,
        "step": 0,
        "began": 0.0,
        "paused": 0.0,
        "status": RUNNING,
        "since": 0.0,
        "why": "",
    }
    if asked.get("by_somebody"):
        record["by_somebody"] = True
    if waits_for := asked.get("waits_for"):
        return {**record, "waits_for": waits_for, "status": WAITING, "why": f"waits for {hosts(waits_for)}"}
    return record


def hosts(names: List[str]) -> str:
    """Some of them by name, for a sentence."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def is_under_way(record: Optional[RolloutRecord]) -> bool:
    """Whether it has not ended."""
    return record is not None and record["status"] in UNDER_WAY


def has_begun(record: RolloutRecord) -> bool:
    """Whether its first step has: at once, where it waits for no other hosts."""
    return bool(record["began"]) or record["status"] == RUNNING or not record.get("waits_for")


def share(record: RolloutRecord) -> float:
    """What the canary has at this step: 0.05 is five clients of a hundred."""
    return record["document"]["steps"][record["step"]] if has_begun(record) else 0.0


def seconds(record: RolloutRecord, now: float) -> float:
    """How long its step has gone on, without what it was paused or held for."""
    if not record["began"]:
        return 0.0
    until = now if record["status"] == RUNNING else record["since"]
    return max(0.0, until - record["began"] - record["paused"])


def advanced(record: RolloutRecord, why: str) -> RolloutRecord:
    """At its next step, which begins when that is committed."""
    return {**record, "step": record["step"] + 1, "began": 0.0, "paused": 0.0, "since": 0.0, "why": why}


def turned(record: RolloutRecord, status: str, why: str, now: float) -> RolloutRecord:
    """With another status."""
    is_on_again = status == RUNNING != record["status"] and record["began"]
    waited = max(0.0, now - record["since"]) if is_on_again else 0.0
    return {**record, "status": status, "why": why, "since": now, "paused": record["paused"] + waited}


def dated(record: RolloutRecord, now: float) -> RolloutRecord:
    """Where its step begins only now, with the time."""
    if record["began"]:
        return record
    if record["status"] == RUNNING:
        return {**record, "began": now, "since": now}
    return {**record, "since": record["since"] or now}


def note(record: RolloutRecord, findings: List[FindingDocument]) -> RolloutNote:
    """What the history says of it."""
    return {
        "id": record["id"],
        "release": record["release"],
        "step": record["step"],
        "steps": len(record["document"]["steps"]),
        "status": record["status"],
        "why": record["why"],
        "findings": findings,
    }


def steered(
    record: Optional[RolloutRecord], action: str, who: str, now: float, why: str = ""
) -> Optional[RolloutRecord]:
    """What a rollout is after somebody asked for `action`; None where it is so already.

    `PROMOTE` is no change of a record: it is a promotion, which ends it.

    Args:
        why: of `ABORT`, a sentence.

    Raises:
        Failure: there is none that this can be done to.
    """
    if record is None or not is_under_way(record):
        ended = f"The last one was {record['status']}: {record['why']}" if record else ""
        raise Failure(REFUSED, f"no rollout is under way here, so there is none to {action}.", ended, "deploy traffic")
    if action == BEGIN:
        return turned(record, RUNNING, f"begun by {who}", now) if record["status"] == WAITING else None
    waits = f"waits for {hosts(record.get('waits_for', []))}"
    on = (RUNNING, f"resumed by {who}") if has_begun(record) else (WAITING, waits)
    status, why = {
        PAUSE: (PAUSED, f"paused by {who}"),
        RESUME: on,
        ABORT: (ABORTED, why or f"aborted by {who}"),
    }[action]
    if record["status"] == status:
        return None
    if action == RESUME and record["status"] == HELD:  # its step begins anew: all of its time is over
        return {**record, "status": RUNNING, "why": why, "began": 0.0, "paused": 0.0, "since": 0.0}
    if action == PAUSE and record["status"] not in (RUNNING, WAITING):
        raise Failure(
            REFUSED,
            f"the rollout is {record['status']}, so its clock stands still already.",
            record["why"],
            "deploy rollout promote, or deploy rollout abort",
        )
    if action == RESUME and record["status"] == PASSED:
        raise Failure(REFUSED, "the rollout has passed all of its steps.", next_step="deploy rollout promote")
    return turned(record, status, why, now)
