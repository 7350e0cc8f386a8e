"""What a transaction makes of a canary's share and of a rollout, and what one that is under way refuses. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Mapping, NamedTuple, Optional, Protocol

from . import rollout
from .failure import REFUSED, Failure
from .slots import CANARY

if TYPE_CHECKING:
    from .rollout import RolloutAsked, RolloutRecord


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
    if record is None or not rollout.is_under_way(record) or kind != "up" or aborts:
        return
    again = channel == CANARY and release == record["release"] and given is None
    if again and (asked is None or _is_same(asked, record)):
        return
    raise _busy(record, "deploy rollout watch; or deploy up --abort-rollout, which ends it first")


def demand_no_steps(record: Optional[RolloutRecord]) -> None:
    """Refuse a share by hand while a rollout gives the canary its shares.

    Raises:
        Failure: one does.
    """
    if record is not None and rollout.is_under_way(record):
        raise _busy(record, "deploy rollout watch; or deploy rollout abort, then give it a share by hand")


def _busy(record: RolloutRecord, next_step: str) -> Failure:
    of = f"{record['status']}, step {record['step'] + 1} of {len(record['document']['steps'])}"
    stands = of if rollout.has_begun(record) else record["why"]
    what = f"a rollout of release {record['release'][:12]} is under way here ({stands})."
    return Failure(REFUSED, what, f"{record['who']} began it.", next_step)


def _is_same(asked: RolloutAsked, record: RolloutRecord) -> bool:
    """Whether it is the one that goes on; for whom it waits was said when it came."""
    return (asked["document"], asked["evidence"]) == (record["document"], record["evidence"])


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
    if record is not None and rollout.is_under_way(record):
        stays = channels.get(CANARY) == record["release"]
        if kind == "promote":
            said = f"{record['why']} " if record["status"] == rollout.PASSED else ""
            record = rollout.turned(record, rollout.PROMOTED, f"{said}Promoted by {who}.", now)
        elif aborts or not stays or kind == "rollback":
            record = rollout.turned(record, rollout.ABORTED, f"{who} ended it: deploy {kind}.", now)
            if stays:
                shares[CANARY] = 0.0
    elif record is not None and record["release"] not in channels.values():
        record = None
    if begins is not None and not (record is not None and rollout.is_under_way(record)):
        return Changed({**shares, CANARY: rollout.share(begins)}, begins)
    if given is not None and CANARY in channels:
        shares[CANARY] = given
    return Changed(shares, record)
