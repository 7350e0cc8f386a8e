"""What a restart, a start or a stop of programs changes: those that are named, and nothing else. Pure; run on both
sides as `decide` is.

What was stopped stays so, over a reboot too, until somebody starts it or brings a release to its lane.
"""

from __future__ import annotations

from typing import Collection, List

from .host_view import HostView
from .state import Program, State
from .steps import Do, How, Step

RESTART = "restart"
START = "start"
STOP = "stop"
KINDS = (RESTART, START, STOP)

_AT_REST = ("stopped", "exited", "absent", "unknown")  # whoever is not so may still have processes


def steps(kind: str, programs: Collection[str], state: State, view: HostView) -> List[Step]:
    """A step for each program of the host, in start order.

    Args:
        kind: one of `KINDS`.
        programs: those that are meant.
    """
    found = []
    for name, record in state.programs.items():
        step = Step(name, record.service, record.lane, record.slot, Do.KEEP, devices=record.devices)
        found.append(_step(kind, step, record, view) if name in programs else step)
    return found


def _step(kind: str, step: Step, record: Program, view: HostView) -> Step:
    seen = view.programs.get(step.program)
    activity = seen["activity"] if seen else "unknown"
    at_rest = not record.is_to_run and activity in _AT_REST
    if kind == STOP:
        return step if at_rest else step._replace(do=Do.STOP, why="asked for")
    if kind == RESTART:
        return step._replace(do=Do.RESTART, how=How.IN_PLACE, why="asked for")
    if activity == "running" and not record.stopped:
        return step
    why = "asked for" if at_rest else f"not running: {(seen and seen['detail']) or activity}"
    return step._replace(do=Do.START, how=How.IN_PLACE, why=why)
