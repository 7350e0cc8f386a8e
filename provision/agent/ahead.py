"""What a deploy would be refused for, asked together with the facts: before anything is sent, and by `plan` as well.

The transaction asks again under its locks, and what only a release that is there can tell.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable, List, Optional

from ..contract.decide import candidates, decide
from ..contract.failure import REFUSED, Failure
from ..contract.host_view import HostView
from ..contract.layout import Layout
from ..contract.slots import TRAFFIC
from ..contract.state import State
from ..contract.steps import Do, Step
from . import moved, preflight, room, runnable, sharing
from .documents import read_documents
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.facts import Ahead
    from ..contract.requests import AheadQuestion


def judge(
    layout: Layout,
    asked: Supervisor,
    state: State,
    seen: HostView,
    ahead: AheadQuestion,
    make_room: Optional[Callable[[str], None]],
) -> Ahead:
    """What stands against bringing a release here.

    Args:
        asked: the supervisor that the target names.
        ahead: `channel`, `project`, `keep`, `nonce`; the `release` and its `document` without texts; `files`, `bytes`
            and `count` of all of them; and where this asked for it, `entries`.
        make_room: called with what was removed to make room; None where nothing may be changed.

    Returns:
        `refused`, an error message or None; `takes`, what is taken over; `measure`, whether `entries` are needed to
        tell; `machine`, of the host; `haproxy`, sha256 of what has to be brought so that there is one.
    """
    answer: Ahead = {"refused": None, "takes": [], "measure": False, "machine": os.uname().machine, "haproxy": ""}
    try:
        if "haproxy" in ahead:
            from . import shipped  # of hosts with traffic alone

            answer["haproxy"] = shipped.lacking(layout, ahead["haproxy"])
        if os.path.exists(layout.journal):
            return answer  # it is ended first, and nobody knows how
        moved.check(layout, state, asked)
        steps = _steps(layout, state, seen, ahead)
        if not (answer["haproxy"] or _anything(layout, steps, ahead)):
            return answer
        short = room.shortages(room.needs(layout, ahead, answer["haproxy"]))
        # Only a list of the files can tell then how much of them has to be shipped.
        answer["measure"] = bool(short) and "entries" not in ahead and room.can_be_linked(layout, ahead)
        lacks = short if not answer["measure"] else []
        if lacks and not room.could_be_made(asked, ahead, lacks, ahead["keep"]):
            raise room.refusal(lacks)
        if any(step.changes for step in steps):
            asked.usable()
            answer["takes"] = [f"{each['name']} ({each['path']})" for each in asked.theirs(asked.taking)]
            _programs(layout, asked, steps, seen, ahead)
        if lacks and make_room is not None:  # last: nothing goes for a deploy that is refused
            room.make(asked, ahead, lacks, ahead["keep"], make_room)
    except Failure as error:
        # Whatever it is called later on: here nothing was begun.
        answer["refused"], answer["measure"] = {**error.message(), "kind": REFUSED}, False
    return answer


def _steps(layout: Layout, state: State, seen: HostView, ahead: AheadQuestion) -> List[Step]:
    kept = state.channels if state.project in ("", ahead["project"]) else {}
    channels = {**kept, ahead["channel"]: ahead["release"]}
    documents = {**read_documents(layout, kept.values()), ahead["release"]: ahead["document"]}
    if not set(channels.values()) <= set(documents):
        return []  # said by the plan
    # Values of secrets are not known yet: what restarts for a new one alone is asked in the transaction.
    return decide(state, channels, documents, seen, set())


def _anything(layout: Layout, steps: List[Step], ahead: AheadQuestion) -> bool:
    """Whether there is anything to do."""
    changes = any(step.do is not Do.KEEP for step in steps)
    there = os.path.realpath(layout.channel(ahead["channel"]))
    return changes or there != os.path.realpath(layout.release(ahead["release"]))


def _programs(layout: Layout, supervisor: Supervisor, steps: List[Step], seen: HostView, ahead: AheadQuestion) -> None:
    release = ahead["release"]
    lanes = ahead["document"]["lanes"].values()
    services = {each["program"]: each for lane in lanes for each in lane["services"]}
    own = [step for step in steps if step.lane == ahead["channel"] or step.do is Do.REMOVE]
    documents = {release: ahead["document"]}
    for step in own:
        if step.service == TRAFFIC and step.program in services:
            services[step.program] = sharing.own(layout, ahead["document"], services[step.program])
    preflight.programs(supervisor, own, services, candidates(own, documents, release), documents, seen)
    for service in preflight.starting(own, ahead["document"]):
        path = runnable.binary(layout, release, service)
        is_here = os.path.isdir(layout.release(release)) if path.startswith(layout.releases + "/") else True
        if path and is_here and not path.startswith(layout.engines + "/"):
            runnable.demand(layout, release, ahead["document"], service)
