"""Steps of a rollout that were taken by a keeper who may not write the state: one in a container.

It writes them down as moves, beside its sockets, and whoever reads the state makes them again, by the rules by which
an agent makes its own. So who takes over that keeper says no more than what a keeper decides: that the rollout of this
very state goes a step on, is held, is aborted, or has passed. The next transaction writes them into the state and the
history; what was noted of another state counts for nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING, Iterator, List, Optional, Sequence, Set, Tuple, TypedDict, cast

from ..contract import rollout
from ..contract.layout import Layout
from ..contract.rollout import FindingDocument, RolloutRecord
from ..contract.slots import CANARY, KEEPER
from ..contract.state import State
from . import files
from .analysis import Move
from .keeper.kinds import ROLLOUT

if TYPE_CHECKING:
    from ..contract.records import Begun

_NAME = "steps.json"
_LARGEST = 1 << 20
_LONGEST = 500  # characters of a sentence
_MOST_FINDINGS = 100
_LATEST = 1 << 33  # seconds since 1970: what is later is no time
_BEGIN_SECONDS = 10.0  # a step takes milliseconds, or as long as HAProxy takes to read its file anew
_POLL = 0.02
_held: Set[Tuple[int, str]] = set()  # by which thread: what it does in there may ask for the same


class _Note(TypedDict):
    move: str
    why: str
    time: float
    findings: List[FindingDocument]


class _Notes(TypedDict):
    sequence: int  # of the state that they follow
    id: str  # the rollout
    moves: List[_Note]


def path(layout: Layout) -> str:
    """Where they are."""
    return os.path.join(layout.traffic, _NAME)


def after(before: State, record: RolloutRecord, move: Move, why: str, now: float) -> Optional[State]:
    """The state that a move leads to; None for a promotion, which changes programs."""
    if move is Move.ADVANCE:
        return sharing(before, rollout.advanced(record, why))
    if move is Move.PROMOTE:
        passes = record["evidence"] or record.get("by_somebody", False)
        return sharing(before, rollout.turned(record, rollout.PASSED, why, now)) if passes else None
    status = {Move.ABORT: rollout.ABORTED, Move.HOLD: rollout.HELD}.get(move)
    return sharing(before, rollout.turned(record, status, why, now)) if status else before


def sharing(before: State, record: RolloutRecord) -> State:
    """The state with that rollout, and the share that the canary has by it."""
    share = 0.0 if record["status"] == rollout.ABORTED else rollout.share(record)
    return before._replace(rollout=record, shares={**before.shares, CANARY: share})


def taken(layout: Layout, committed: State) -> List[Tuple[State, Begun]]:
    """The state after each step that was noted of the committed one, and what the history says of it."""
    found: List[Tuple[State, Begun]] = []
    state = committed
    for note in _noted(layout, committed):
        record = state.rollout
        assert record is not None  # noqa: S101  there are none otherwise
        now = max(note["time"], record["began"], record["since"])
        state = _made(state, record, Move(note["move"]), note["why"], now)
        begun: Begun = {
            "kind": ROLLOUT,
            "who": KEEPER,
            "time": now,
            "transaction": f"{record['id']}-{state.sequence}",
            "findings": note["findings"],
        }
        found.append((state, begun))
    return found


def _made(before: State, record: RolloutRecord, move: Move, why: str, now: float) -> State:
    made = after(before, record, move, why, now)
    assert made is not None  # noqa: S101  it was asked whether it may be
    assert made.rollout is not None  # noqa: S101
    return made._replace(sequence=before.sequence + 1, rollout=rollout.dated(made.rollout, now))


def current(layout: Layout, committed: State) -> State:
    """The committed state, with what was noted since."""
    steps = taken(layout, committed)
    return steps[-1][0] if steps else committed


def add(layout: Layout, committed: State, move: Move, why: str, findings: Sequence[FindingDocument]) -> None:
    """Note one more."""
    assert committed.rollout is not None  # noqa: S101
    note: _Note = {"move": move.value, "why": why[:_LONGEST], "time": time.time(), "findings": list(findings)}
    moves = [*_noted(layout, committed), note]
    notes: _Notes = {"sequence": committed.sequence, "id": committed.rollout["id"], "moves": moves}
    files.write_json(path(layout), notes, 0o600)


@contextlib.contextmanager
def alone(layout: Layout, seconds: float = _BEGIN_SECONDS) -> Iterator[bool]:
    """Between the steps of such a keeper, and with none until a journal is there that is begun meanwhile.

    Whether that could be waited for: who holds it for longer is none of ours, and keeps nobody from going on. A lock on
    the folder itself, as a file in it could be anything.
    """
    mine = (threading.get_ident(), layout.traffic)
    if mine in _held:
        yield True
        return
    try:
        folder = os.open(layout.traffic, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        is_alone = _locked(folder, seconds)
        _held.add(mine)
        yield is_alone
    finally:
        _held.discard(mine)
        os.close(folder)


def _locked(folder: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(_POLL)
        else:
            return True


def forget(layout: Layout) -> None:
    """What was noted since the last transaction looked is taken again later, where it is due still."""
    with contextlib.suppress(IsADirectoryError, PermissionError):  # then it says nothing
        files.discard(path(layout))


def _noted(layout: Layout, committed: State) -> List[_Note]:
    """What may have come of the committed state, as far as it can have."""
    record = committed.rollout
    if record is None or record["status"] != rollout.RUNNING or not record.get("by_somebody"):
        return []
    said = files.read_plain_json(path(layout), _LARGEST)
    if not isinstance(said, dict) or (said.get("sequence"), said.get("id")) != (committed.sequence, record["id"]):
        return []
    moves = said.get("moves")
    last = len(record["document"]["steps"]) - 1
    step, found = record["step"], []
    for each in moves if isinstance(moves, list) else []:
        note = _judged(each, record)
        if note is None:
            break
        if note["move"] == Move.ADVANCE.value and step < last:
            step += 1
            found.append(note)
            continue
        if note["move"] in (Move.HOLD.value, Move.ABORT.value) or (note["move"] == Move.PROMOTE.value and step == last):
            found.append(note)
        break  # nothing comes after these
    return found


def _judged(value: object, record: RolloutRecord) -> Optional[_Note]:
    """A note of a keeper's; None where it is none."""
    if not isinstance(value, dict) or not isinstance(value.get("move"), str) or not isinstance(value.get("why"), str):
        return None
    when = value.get("time")
    if isinstance(when, bool) or not isinstance(when, (int, float)) or not 0 <= when <= _LATEST:
        return None
    return {
        "move": value["move"],
        "why": value["why"][:_LONGEST],
        "time": float(when),
        "findings": findings(value.get("findings"), record),
    }


def findings(said: object, record: RolloutRecord) -> List[FindingDocument]:
    """Those among what was said that can be some of this rollout."""
    found: List[FindingDocument] = []
    keys = list(FindingDocument.__annotations__)
    for each in said[:_MOST_FINDINGS] if isinstance(said, list) else []:
        if not isinstance(each, dict) or not all(isinstance(each.get(key), str) for key in keys):
            continue
        if each["service"] in record["services"]:
            found.append(cast("FindingDocument", {key: each[key][:_LONGEST] for key in keys}))
    return found
