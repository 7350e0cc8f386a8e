"""How a canary gets its share of the requests, and what its users may see: declared by [targets.NAME.rollout].

A rollout that is under way is a record in the state. It holds no lock: the keeper, who is at home on the host, takes
each of its steps in a transaction of its own, and nothing else changes the record. All of this is pure.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Protocol, TypedDict

from .failure import REFUSED, Failure
from .slots import CANARY

HOLD, PROMOTE, ABORT = "hold", "promote", "abort"  # what becomes of a step that nothing can be said of

RUNNING = "running"  # its step goes on
PAUSED = "paused"  # somebody stopped its clock
HELD = "held"  # nothing can be said, or it could not be promoted: it keeps its share until somebody says what follows
PASSED = "passed"  # the last step is over, and whoever has the key signs and promotes
PROMOTED = "promoted"
ABORTED = "aborted"  # the canary has no share any more, and stays on its channel
UNDER_WAY = (RUNNING, PAUSED, HELD, PASSED)

PAUSE, RESUME = "pause", "resume"
ACTIONS = (PAUSE, RESUME, ABORT, PROMOTE)  # what somebody may ask for


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


class RolloutAsked(TypedDict):
    """That an `up` of a canary begins a rollout."""

    document: RolloutDocument
    evidence: bool  # whether it ends in `PASSED`, because a promotion needs somebody's signature


class RolloutRecord(TypedDict):
    """A rollout of the release that the channel canary has, as the state has it."""

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


def begun(asked: RolloutAsked, transaction: str, release: str, who: str, keep: int) -> RolloutRecord:
    """A rollout at its first step; which services it judges is said once its programs are known."""
    return {
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


def is_under_way(record: Optional[RolloutRecord]) -> bool:
    """Whether it has not ended."""
    return record is not None and record["status"] in UNDER_WAY


def share(record: RolloutRecord) -> float:
    """What the canary has at this step: 0.05 is five clients of a hundred."""
    return record["document"]["steps"][record["step"]]


def seconds(record: RolloutRecord, now: float) -> float:
    """How long its step has gone on, without what it was paused or held for."""
    until = now if record["status"] == RUNNING else record["since"]
    return max(0.0, until - record["began"] - record["paused"])


def advanced(record: RolloutRecord, why: str) -> RolloutRecord:
    """At its next step, which begins when that is committed."""
    return {**record, "step": record["step"] + 1, "began": 0.0, "paused": 0.0, "since": 0.0, "why": why}


def turned(record: RolloutRecord, status: str, why: str, now: float) -> RolloutRecord:
    """With another status."""
    waited = max(0.0, now - record["since"]) if status == RUNNING != record["status"] else 0.0
    return {**record, "status": status, "why": why, "since": now, "paused": record["paused"] + waited}


def dated(record: RolloutRecord, now: float) -> RolloutRecord:
    """Where its step begins only now, with the time."""
    return record if record["began"] else {**record, "began": now, "since": now}


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


def steered(record: Optional[RolloutRecord], action: str, who: str, now: float) -> Optional[RolloutRecord]:
    """What a rollout is after somebody asked for `action`; None where it is so already.

    `PROMOTE` is no change of a record: it is a promotion, which ends it.

    Raises:
        Failure: there is none that this can be done to.
    """
    if record is None or not is_under_way(record):
        ended = f"The last one was {record['status']}: {record['why']}" if record else ""
        raise Failure(REFUSED, f"no rollout is under way here, so there is none to {action}.", ended, "deploy traffic")
    status, why = {
        PAUSE: (PAUSED, f"paused by {who}"),
        RESUME: (RUNNING, f"resumed by {who}"),
        ABORT: (ABORTED, f"aborted by {who}"),
    }[action]
    if record["status"] == status:
        return None
    if action == RESUME and record["status"] == HELD:  # its step begins anew: all of its time is over
        return {**record, "status": RUNNING, "why": why, "began": 0.0, "paused": 0.0, "since": 0.0}
    if action == PAUSE and record["status"] != RUNNING:
        raise Failure(
            REFUSED,
            f"the rollout is {record['status']}, so its clock stands still already.",
            record["why"],
            "deploy rollout promote, or deploy rollout abort",
        )
    if action == RESUME and record["status"] == PASSED:
        raise Failure(REFUSED, "the rollout has passed all of its steps.", next_step="deploy rollout promote")
    return turned(record, status, why, now)


def demand_free(
    record: Optional[RolloutRecord],
    kind: str,
    channel: str,
    release: str,
    asked: Optional[RolloutAsked],
    given: Optional[float],
    *,
    aborts: bool,
) -> None:
    """Refuse an `up` while a rollout is under way, unless it is the very same again, or says to end it.

    Args:
        asked: the rollout that it would begin.
        given: the share that it would give the canary by hand.

    Raises:
        Failure: it names the rollout, and the ways out.
    """
    if record is None or not is_under_way(record) or kind != "up" or aborts:
        return
    if channel == CANARY and release == record["release"] and given is None and asked in (None, as_asked(record)):
        return
    raise _busy(record, "deploy rollout watch; or deploy up --abort-rollout, which ends it first")


def demand_no_steps(record: Optional[RolloutRecord]) -> None:
    """Refuse a share by hand while a rollout gives the canary its shares.

    Raises:
        Failure: one does.
    """
    if record is not None and is_under_way(record):
        raise _busy(record, "deploy rollout watch; or deploy rollout abort, then give it a share by hand")


def _busy(record: RolloutRecord, next_step: str) -> Failure:
    of = f"step {record['step'] + 1} of {len(record['document']['steps'])}"
    what = f"a rollout of release {record['release'][:12]} is under way here ({record['status']}, {of})."
    return Failure(REFUSED, what, f"{record['who']} began it.", next_step)


def as_asked(record: RolloutRecord) -> RolloutAsked:
    """How it was asked for."""
    return {"document": record["document"], "evidence": record["evidence"]}


class Stands(Protocol):
    """What was before: the state of a host, or what a cluster knows."""

    @property
    def channels(self) -> Mapping[str, str]: ...

    @property
    def shares(self) -> Mapping[str, float]: ...

    @property
    def rollout(self) -> Optional[RolloutRecord]: ...


class Changed(NamedTuple):
    """What of a state says who gets how much."""

    shares: Dict[str, float]
    rollout: Optional[RolloutRecord]


def after(
    before: Stands,
    kind: str,
    channels: Mapping[str, str],
    who: str,
    now: float,
    *,
    begins: Optional[RolloutRecord] = None,
    given: Optional[float] = None,
    aborts: bool = False,
) -> Changed:
    """What a transaction that moves channels makes of shares and of a rollout. `demand_free` has let it pass.

    A share belongs to the release that had it: what comes to the channel next begins as it declares.

    Args:
        channels: name -> release, then.
        begins: a rollout that begins with it.
        given: the share that the canary is given by hand with it.
        aborts: whether an `up` ends the rollout that is under way.
    """
    shares = {lane: each for lane, each in before.shares.items() if channels.get(lane) == before.channels.get(lane)}
    record = before.rollout
    if record is not None and is_under_way(record):
        stays = channels.get(CANARY) == record["release"]
        if kind == "promote":
            said = f"{record['why']} " if record["status"] == PASSED else ""
            record = turned(record, PROMOTED, f"{said}Promoted by {who}.", now)
        elif aborts or not stays or kind == "rollback":
            record = turned(record, ABORTED, f"{who} ended it: deploy {kind}.", now)
            if stays:
                shares[CANARY] = 0.0
    elif record is not None and record["release"] not in channels.values():
        record = None
    if begins is not None and not (record is not None and is_under_way(record)):
        return Changed({**shares, CANARY: share(begins)}, begins)
    if given is not None and CANARY in channels:
        shares[CANARY] = given
    return Changed(shares, record)
