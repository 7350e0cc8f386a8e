"""What a transaction makes of the shares of its lanes, and of a rollout."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Mapping, Optional

from ..contract import roles, rollout
from ..contract import shared as rules
from ..contract.failure import REFUSED, Failure
from ..contract.rollout import RolloutRecord
from ..contract.slots import CANARY, STABLE
from ..contract.state import State

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument
    from ..contract.requests import TransactionRequest


def shared(
    request: TransactionRequest,
    who: str,
    transaction: str,
    before: State,
    after_: State,
    documents: Mapping[str, ReleaseDocument],
) -> State:
    """The state that it leads to, with the shares of its lanes and the rollout that begins, goes on or ends.

    Raises:
        Failure: one is asked for, and this host can have none.
    """
    asked, given, begins = request.get("rollout"), request.get("share"), None
    if asked is not None:
        record = rollout.begun(asked, transaction, after_.channels.get(CANARY, ""), who, request["keep"])
        begins = _judged(after_, documents, record)
    elif given is not None:
        demand_traffic(after_, given)
    changed = rules.after(
        before,
        request["kind"],
        after_.channels,
        who,
        time.time(),
        begins=begins,
        given=given,
        aborts=request.get("abort_rollout", False),
    )
    return after_._replace(shares=changed.shares, rollout=changed.rollout)


def demand_free(before: State, request: TransactionRequest) -> None:
    """Refuse an `up` while a rollout is under way, as `contract.shared` has it.

    Raises:
        Failure: it names the rollout, and the ways out.
    """
    rules.demand_free(
        before.rollout,
        request["kind"],
        request["channel"],
        request["release"],
        request.get("rollout"),
        request.get("share"),
        aborts=request.get("abort_rollout", False),
    )


def demand_traffic(before: State, share: Optional[float] = None) -> None:
    """Refuse where nobody's share can be changed.

    Raises:
        Failure: nothing stands before the programs, or there is no canary.
    """
    if roles.stands_before(before) is None:
        what = "nothing stands before the programs here, so nobody has a share."
        raise Failure(REFUSED, what, next_step="declare traffic in the target, then: deploy up")
    if CANARY not in before.channels:
        raise Failure(REFUSED, "there is no canary to give a share to.", next_step="deploy up --channel canary")
    if share is not None and not 0 <= share <= 1:
        raise Failure(REFUSED, f"{share} is no share: from 0 to 1.")


def _judged(state: State, documents: Mapping[str, ReleaseDocument], record: RolloutRecord) -> RolloutRecord:
    """A rollout that begins, with the services that it judges.

    Raises:
        Failure: nobody here could: there is no keeper, or no traffic.
    """
    demand_traffic(state)
    if roles.keeper(state) is None:
        raise Failure(
            REFUSED,
            "nobody is at home on this host who could take the steps of a rollout.",
            "An earlier version brought its stable release.",
            "deploy up, which brings a keeper; then deploy up --channel canary",
        )
    here = {lane: documents[state.channels[lane]] for lane in (STABLE, CANARY)}
    both = [name for name in here[STABLE]["traffic"]["services"] if state.having(CANARY, name)]
    fronted = [name for name in both if roles.is_fronted(here[CANARY], name)]
    described = [each for slot in here[CANARY]["lanes"].values() for each in slot["services"] if "tokens" in each]
    engines = sorted({each["name"] for each in described} & set(fronted))
    return {**record, "services": sorted(fronted), "engines": engines}
