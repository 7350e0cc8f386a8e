"""A supervisor that runs, whatever became of it.

One that was killed (the kernel does that when memory is short) leaves its programs running, on their ports, with nobody
who would restart or stop them; and nothing can adopt another's children. So before one of ours is started again they
are ended, in order, and it starts them anew.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Dict, Iterable, Iterator, List, Optional, Tuple

from ..contract.failure import FAILED, Failure
from ..contract.layout import Layout
from . import guard, processes
from . import state as states
from .documents import read_documents, service_of
from .folders import host_folder
from .programs import levels
from .supervisors import Activity, Supervisor, open_supervisor, options

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.release import ReleaseDocument, ServiceDocument

_RETURN_SECONDS = 60.0  # within this somebody else starts an engine again: systemd does after seconds
_STOP_SECONDS = 10.0  # for a program that no release describes any more
_OTHERS_SECONDS = 600.0  # the longest that a program of another project is waited for
_POLL = 0.1


def restore(layout: Layout, supervisor: Supervisor, emit: Emit, *, patient: bool = False) -> List[str]:
    """Make sure that the supervisor runs, with all of our programs under it. The caller holds the host's lock.

    Args:
        patient: wait for one that others start; without, it is refused at once.

    Returns:
        The programs of this project that had run on without it. They are started again, and not proven.

    Raises:
        Failure: it does not run, or what it left behind can't be ended.
    """
    if not supervisor.gone():
        supervisor.ready()
        return []
    if not supervisor.starts():
        until = time.monotonic() + _RETURN_SECONDS
        while patient and supervisor.gone() and time.monotonic() < until:
            time.sleep(_POLL)
        supervisor.ready()
        _start(supervisor, [], emit)  # an engine without live-restore ends its containers when it comes back
        return []
    ended = _end_strays(supervisor, emit)
    others: List[Tuple[Supervisor, List[str]]] = []
    for other in _others(layout, supervisor.kind):
        with _mended_later(other, emit):
            theirs = _theirs(other, supervisor)
            if theirs is not None:
                others.append((theirs, _end_strays(theirs, emit, _OTHERS_SECONDS)))
    supervisor.ready()
    _start(supervisor, ended, emit)
    for theirs, names in others:
        with _mended_later(theirs.layout, emit):
            _start(theirs, names, emit)
    return ended


def _others(layout: Layout, kind: str) -> Iterator[Layout]:
    """The other projects of this user that have such a supervisor."""
    for path in sorted(glob.glob(os.path.join(glob.escape(host_folder()), "projects", "*.json"))):
        try:
            with open(path, encoding="utf-8") as stream:
                entry = json.load(stream)
            other = Layout(str(entry["root"]))
            if entry["platform"] == kind and other.root != layout.root and os.path.isdir(other.private):
                yield other
        except (OSError, ValueError, KeyError, TypeError):
            continue  # written by no version of ours, or gone meanwhile


def _theirs(other: Layout, supervisor: Supervisor) -> Optional[Supervisor]:
    """The same supervisor, as another project has it; None where that has another one.

    Raises:
        Failure: nothing is believed of that project, because others could have put it there.
    """
    wrong = guard.fault(other)
    if wrong is not None:
        raise guard.refusal(other.root, wrong)
    opened = open_supervisor(other, supervisor.kind, options(other))
    return opened if opened.same_as(supervisor) else None


@contextlib.contextmanager
def _mended_later(other: Layout, emit: Emit) -> Iterator[None]:
    """What is wrong with another project is none of this one's business, whatever it is."""
    try:
        yield
    except (Failure, OSError, ValueError, KeyError, TypeError, AttributeError) as failure:
        emit({"event": "warning", "text": f"the project in {other.root} has to be mended: {failure}"})


def _end_strays(supervisor: Supervisor, emit: Emit, longest: float = float("inf")) -> List[str]:
    """End what runs without its supervisor, those first that come after others; the names of the programs.

    Args:
        longest: in seconds; after it a program is ended by force, whatever its release says.
    """
    strays = {name: found for name, found in supervisor.strays(_names(supervisor.layout)).items() if found}
    if not strays:
        return []
    emit(
        {
            "event": "warning",
            "text": f"{supervisor.kind} was killed, and {_listed(strays)} ran on without it: ended, and started anew",
        }
    )
    known = _services(supervisor.layout)
    described = [[item for item in level if item["program"] in strays] for level in levels(list(known.values()))]
    order = [
        {name: _STOP_SECONDS for name in strays if name not in known},
        *({item["program"]: item["stop_timeout"] for item in level} for level in reversed(described)),
    ]
    for stops in order:
        names = list(stops)
        if names:
            for name in names:
                emit({"event": "step", "step": "stop", "program": name, "detail": "it has no supervisor"})
            seconds = min(longest, max(stops.values()))
            left = processes.end(partial(supervisor.stray_pids, names), seconds)
            if left:
                raise Failure(FAILED, f"{_listed(names)} did not stop: processes {sorted(left)} are still there.")
    return sorted(strays)


def _start(supervisor: Supervisor, ended: List[str], emit: Emit) -> None:
    """Start what ran, and what starts with the supervisor: some of that it has started itself by now."""
    state = states.read_state(supervisor.layout)
    wanted = [name for name, record in state.programs.items() if name in ended or record.is_to_run]
    down = [name for name, seen in supervisor.observe(wanted).items() if seen.activity is not Activity.RUNNING]
    for name in down:
        emit({"event": "step", "step": "start", "program": name, "detail": "under its supervisor again"})
        try:
            supervisor.start([name])
        except Failure as failure:
            emit({"event": "warning", "text": f"{name} is not started again: {failure}"})


def _names(layout: Layout) -> List[str]:
    """Every program of ours that may have processes: those that serve, and those of a transaction that was cut off."""
    staged = os.listdir(layout.run) if os.path.isdir(layout.run) else []
    return sorted({*staged, *states.read_state(layout).programs})


def _services(layout: Layout) -> Dict[str, ServiceDocument]:
    """Program -> how its release describes it, where that is still there."""
    found: Dict[str, ServiceDocument] = {}
    documents: Dict[str, ReleaseDocument] = {}
    state = states.read_state(layout)
    for name, record in state.programs.items():
        try:
            if record.release not in documents:
                documents.update(read_documents(layout, [record.release]))
            found[name] = service_of(documents, name, record)
        except Failure:
            continue
    return found


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
