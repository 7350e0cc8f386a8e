"""A canary's share, and the steps of a rollout, as they are asked for: by somebody, or by the keeper.

Each is a transaction of its own under the project's lock, which is held for that long. What the keeper proposes is
compared with the state first: it may have changed since.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Callable, List, Optional, cast

from ..contract import rollout
from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from ..contract.rollout import FindingDocument, RolloutRecord
from ..contract.shared import demand_no_steps
from ..contract.slots import CANARY, KEEPER, STABLE
from ..contract.state import State
from . import activate, files, journal, recover, shares, stepped, weights, worker
from . import state as states
from .analysis import Move
from .ending import settle
from .folders import host_folder
from .keeper.judging import Proposal, proposed, step_of
from .keeper.kinds import OF_WEIGHTS, ROLLOUT, WEIGH, is_keepers
from .locks import Lock, refuse
from .supervisors import options

if TYPE_CHECKING:
    from ..contract.answers import Transacted
    from ..contract.events import Emit
    from ..contract.holder import Holder
    from ..contract.requests import Header, SupervisorOptions, TransactionRequest
    from ..contract.rollout import SteerRollout, Weigh

_LOCK_SECONDS = 3.0
_LONGEST_WHY = 500  # characters that somebody may say of what became of a rollout


class Locked:
    """The project's lock, and the host's where a transaction of programs has to be ended first."""

    def __init__(self, layout: Layout, who: str, doing: str, transaction: str) -> None:
        self._layout = layout
        self._holder: Holder = {"who": who, "doing": doing, "transaction": transaction}
        self._locks: List[Lock] = []

    def __enter__(self) -> Locked:
        self._take(Lock(self._layout.lock), "another transaction of this project is running.")
        open_ = journal.Journal(self._layout.journal).left_open()
        if open_ is not None and open_.begin["kind"] not in OF_WEIGHTS:
            files.make_folder(host_folder())
            self._take(Lock(os.path.join(host_folder(), "lock")), "another project's transaction keeps this host busy.")
        return self

    def _take(self, lock: Lock, busy: str) -> None:
        if not lock.take(self._holder, _LOCK_SECONDS):
            self.__exit__()
            raise refuse(busy, lock.holder() or {})
        self._locks.append(lock)

    def __exit__(self, *_: object) -> None:
        for lock in reversed(self._locks):
            lock.release()
        self._locks.clear()


def weigh(layout: Layout, header: Header, transaction: str, request: Weigh, emit: Emit) -> Transacted:
    """Give the canary a share by hand.

    Raises:
        Failure: there is none, or a rollout gives it its shares.
    """
    with Locked(layout, header["who"], WEIGH, transaction):
        end_open(layout, header["agent"], emit)
        before = states.read_state(layout)
        shares.demand_traffic(before, request["share"])
        demand_no_steps(before.rollout)
        if before.shares.get(CANARY) == request["share"]:
            return weights.unchanged(before)
        after = before._replace(shares={**before.shares, CANARY: request["share"]})
        return weights.change(layout, transaction, WEIGH, header["who"], header["agent"], before, after)


def steer(
    layout: Layout,
    header: Header,
    transaction: str,
    request: SteerRollout,
    emit: Emit,
    aborted: Callable[[], bool],
) -> Transacted:
    """Pause, resume, abort or promote the rollout that is under way.

    Raises:
        Failure: there is none, or it can't be.
    """
    if request["action"] == rollout.PROMOTE:
        record = states.read_state(layout).rollout
        if record is None or not rollout.is_under_way(record):
            rollout.steered(record, rollout.PROMOTE, header["who"], 0.0)  # says so
        elif record["evidence"]:
            what = "this target requires evidence, which a host can't sign."
            raise Failure(REFUSED, what, next_step="deploy promote")
        else:
            demand = lambda state: _demand_rollout(state, record["id"])  # noqa: E731
            promotion = _promotion(layout, record["keep"])
            return activate.perform(layout, header, transaction, promotion, emit, aborted, demand)
    with Locked(layout, header["who"], ROLLOUT, transaction):
        end_open(layout, header["agent"], emit)
        before = states.read_state(layout)
        _demand_meant(before.rollout, request)
        why = request.get("why", "")[:_LONGEST_WHY]
        record = rollout.steered(before.rollout, request["action"], header["who"], time.time(), why)
        if record is None:
            return weights.unchanged(before)
        return weights.change(
            layout, transaction, ROLLOUT, header["who"], header["agent"], before, stepped.sharing(before, record)
        )


def _demand_meant(record: Optional[RolloutRecord], request: SteerRollout) -> None:
    """Refuse what was decided of another rollout than is here by now."""
    meant = request.get("id")
    if meant and (record is None or record["id"] != meant):
        what = "another rollout is here than this was decided for."
        raise Failure(REFUSED, what, next_step="deploy rollout watch")


def end_open(layout: Layout, agent: str, emit: Emit) -> None:
    if os.path.exists(layout.journal):
        emit({"event": "recovered", "outcome": recover.recover(layout, agent, emit)})
    settle(layout)


def _promotion(layout: Layout, keep: int, findings: Optional[List[FindingDocument]] = None) -> TransactionRequest:
    """What a laptop would ask for."""
    return {
        "op": "transaction",
        "kind": "promote",
        "channel": STABLE,
        "release": "",
        "generation": None,
        "steps": None,
        "secrets": {},
        "platform": states.read_state(layout).platform,
        "supervisor": cast("SupervisorOptions", options(layout)),
        "logins": {},
        "gpus": False,
        "keep": keep,
        "findings": findings or [],
    }


# --- by the keeper ---------------------------------------------------------------------------------------------------


def main(layout: Layout, agent: str) -> int:
    """Take the step that the keeper proposes, or end what one before was killed in; the exit status."""
    worker.leave_session_scope(os.getpid(), f"deploy-step-{worker.new_transaction()}")
    try:
        step(layout, agent, lambda _: None)
    except (Failure, OSError) as error:
        print(error.sentence if isinstance(error, Failure) else error, file=sys.stderr)  # noqa: T201  the keeper's log
        return 1
    return 0


def step(layout: Layout, agent: str, emit: Emit) -> None:
    """The same; raises what is in the way."""
    begun = states.read_state(layout).rollout
    if begun is not None and begun.get("by_somebody"):
        _step_apart(layout)
        return
    transaction = worker.new_transaction()
    with Locked(layout, KEEPER, ROLLOUT, transaction):
        open_ = journal.Journal(layout.journal).left_open()
        if open_ is not None:
            if not is_keepers(open_.begin):
                return  # whoever began it, or comes next, ends it
            recover.recover(layout, agent, emit)
        before = states.read_state(layout)
        record = before.rollout
        if record is None or record["status"] != rollout.RUNNING:
            return
        proposal = proposed(layout, record)
        if proposal is None:
            return
        after = stepped.after(before, record, Move(proposal["move"]), proposal["why"], time.time())
        if after is not None:
            weights.change(layout, transaction, ROLLOUT, KEEPER, agent, before, after, proposal["findings"])
            return
    _promote(layout, agent, transaction, proposal, emit)


def _step_apart(layout: Layout) -> None:
    """The same, by a keeper who may write neither the state nor a journal, nor have the project's lock."""
    with stepped.alone(layout) as is_alone:
        if not is_alone or os.path.exists(layout.journal):
            return  # a transaction goes first, and what is due still is proposed again
        before = states.read_state(layout)
        proposal = proposed(layout, before.rollout) if before.rollout else None
        if proposal is None or not _is_of(before.rollout, proposal):
            return
        move = Move(proposal["move"])
        after = stepped.after(before, cast("RolloutRecord", before.rollout), move, proposal["why"], time.time())
        try:
            weights.become(layout, after or before)
            stepped.add(layout, states.committed(layout), move, proposal["why"], proposal["findings"])
        except (Failure, OSError):
            weights.become(layout, before)
            raise


def _is_of(record: Optional[RolloutRecord], proposal: Proposal) -> bool:
    """Whether a rollout is still at the step that a proposal is of, and nobody has stopped it since."""
    step = (proposal["id"], proposal["step"], proposal["began"])
    return record is not None and record["status"] == rollout.RUNNING and step_of(record) == step


def _demand(state: State, proposal: Proposal) -> None:
    """Refuse what was proposed of a step that is over: who aborts or pauses may have had the lock in between."""
    if not _is_of(state.rollout, proposal):
        raise Failure(REFUSED, "the rollout is not at the step any more that this was proposed of.")


def _demand_rollout(state: State, id_: str) -> None:
    """Refuse to promote another canary than the one that was there when somebody asked."""
    record = state.rollout
    if record is None or record["id"] != id_ or not rollout.is_under_way(record):
        rollout.steered(record if record and record["id"] == id_ else None, rollout.PROMOTE, "", 0.0)


def _promote(layout: Layout, agent: str, transaction: str, proposal: Proposal, emit: Emit) -> None:
    """Promote the canary; where that fails, it keeps its share until somebody says what follows."""
    before = states.read_state(layout)
    header: Header = {
        "path": layout.root,
        "agent": agent,
        "who": KEEPER,
        "version": before.version,
        "install": True,
        "project": before.project,
        "take_over": "",
        "heartbeat": 60.0,
    }
    keep = before.rollout["keep"] if before.rollout else 1
    try:
        request = _promotion(layout, keep, proposal["findings"])
        request["by_keeper"] = True
        activate.perform(layout, header, transaction, request, emit, lambda: False, lambda now: _demand(now, proposal))
    except Failure as failed:
        if "holder" in failed.details:
            raise  # somebody else has the lock: it is tried again
        with Locked(layout, KEEPER, ROLLOUT, transaction):
            now = states.read_state(layout)
            record = now.rollout
            if record is None or not _is_of(record, proposal) or os.path.exists(layout.journal):
                raise
            why = f"{proposal['why']} It could not be promoted: {failed.sentence}"
            held = stepped.sharing(now, rollout.turned(record, rollout.HELD, why, time.time()))
            weights.change(layout, worker.new_transaction(), ROLLOUT, KEEPER, agent, now, held, proposal["findings"])
        raise
