"""The two ways in which a transaction ends: the new state becomes the committed one, or the old one is put back.

Both go by what is written down, and both may be repeated: so whoever finds an open journal can end it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Set

from . import files, journal, processes, supervision
from . import state as states
from .documents import read_documents, service_of
from .layout import Layout
from .programs import Programs, levels
from .protocol import COMMITTED, AgentError
from .prove import NotProven
from .state import State

_STOP_SECONDS = 10.0  # for what was never proven


def finish(layout: Layout, before: State, after: State, *, kind: str, who: str, when: float, transaction: str) -> None:
    """Make the proven state the committed one."""
    files.remove(layout.reserve)  # first: the rest needs room
    for name in {*before.channels, *after.channels}:
        if name in after.channels:
            files.point(layout.channel(name), os.path.join("releases", after.channels[name]))
        else:
            files.remove(layout.channel(name))
    entry = {
        "sequence": after.sequence,
        "kind": kind,
        "who": who,
        "time": int(when),
        "transaction": transaction,
        "channels": after.channels,
        "outcome": COMMITTED,
        "project": after.project,
        **({"taken_from": before.project} if before.project != after.project and before.project else {}),
    }
    files.write_json(os.path.join(layout.history, f"{after.sequence:08d}.json"), entry)
    states.write(layout, after)
    journal.Journal(layout.journal).end()


def undo(programs: Programs) -> str:
    """Make the host what the journal's `before` says, and prove it; a sentence of what serves now.

    Raises:
        NotProven, AgentError, OSError: it can't be proven; the journal is kept and says `degraded`.
    """
    kept = journal.Journal(programs.layout.journal)
    records = kept.read() or []
    begin = records[0]
    before = states.from_dict(begin["before"], programs.layout.journal)
    files.remove(programs.layout.reserve)
    _note(kept, journal.UNDO)
    touched = {name for record in records for name in record.get("programs", [])}
    try:
        try:
            _put_back(programs, before, begin, touched)
        except (NotProven, AgentError, OSError):
            if not programs.supervisor.gone():
                raise
            _put_back(programs, before, begin, touched)  # it was killed on the way
    except (NotProven, AgentError, OSError) as failure:
        _note(kept, journal.DEGRADED, why=sentence(failure))
        raise
    kept.end()
    programs.remember(before)
    return _what_serves(before, begin["running"])


def sentence(failure: BaseException) -> str:
    """What went wrong, in words."""
    if isinstance(failure, AgentError):
        return f"{failure.what} {failure.why}".strip()
    return str(getattr(failure, "what", "")) or str(failure)


def _note(kept: journal.Journal, step: str, **facts: Any) -> None:
    """Write down how far the way back is, if the disk has room: that the journal is there says enough."""
    try:
        kept.add(step, **facts)
    except OSError:
        pass


def _put_back(programs: Programs, before: State, begin: journal.Record, touched: Set[str]) -> None:
    """Every part that can be put back is, whichever other can't; then the first failure is raised."""
    failures: List[Exception] = []
    documents = read_documents(programs.layout, {record.release for record in before.programs.values()})
    after = states.from_dict(begin["after"], programs.layout.journal)
    new = {name: after.programs[name].manifest for name in sorted(touched) if name not in before.programs}
    new.update(begin["candidates"])
    revived = False
    if programs.supervisor.gone():
        # What starts with a supervisor that is started again must not be what was never proven.
        with _collected(failures):
            _describe_before(programs, before, after, documents, touched, new)
        _bring_back(programs, [*new, *touched])
        revived = not failures and programs.supervisor.starts()
    with _collected(failures):
        for name in new:
            programs.end(name, _STOP_SECONDS)
        programs.drop(new)
    start, load = [], []
    for name, record in before.programs.items():
        with _collected(failures):
            service = service_of(documents, name, record)
            if name in begin["running"]:
                start.append(service)
            if name in touched:
                if not revived and not _still_runs(programs, name, begin):
                    # Nobody waits for requests here: the old one is down until this is over.
                    programs.end(name, service["stop_timeout"])
                programs.describe(service, record.launch, after.programs.get(name))
                load.append(name)
    with _collected(failures):
        programs.supervisor.load(load, [])
    for level in levels(start):
        with _collected(failures):
            for service in level:
                if not programs.runs(service["program"]):
                    programs.start(service["program"], "as before")
            programs.prove(level, before, lambda: None)
    with _collected(failures):
        programs.supervisor.enable([service["program"] for service in start if not service["on_demand"]])
    if failures:
        raise failures[0]


def _describe_before(
    programs: Programs,
    before: State,
    after: State,
    documents: Dict[str, Dict[str, Any]],
    touched: Set[str],
    new: Dict[str, str],
) -> None:
    """Let the files say what `before` says, without any supervisor."""
    for manifest in new.values():
        files.remove(programs.supervisor.manifest_path(manifest))
    for name in touched & set(before.programs):
        record = before.programs[name]
        programs.describe(service_of(documents, name, record), record.launch, after.programs.get(name))


def _bring_back(programs: Programs, unproven: List[str]) -> None:
    """Have the supervisor again, or at least nothing that was never proven."""
    try:
        supervision.restore(programs.layout, programs.supervisor, programs.emit, patient=True)
    except AgentError:
        processes.end(lambda: programs.supervisor.stray_pids(unproven), _STOP_SECONDS)
        raise


def _still_runs(programs: Programs, name: str, begin: journal.Record) -> bool:
    """Whether the very process of before runs: announced but not reached, or finishing on its old code."""
    pid, began = begin["running"].get(name, (0, 0))
    return (
        pid != 0 and begin["boot"] == processes.boot_id() and processes.start_time(pid) == began and programs.runs(name)
    )


@contextmanager
def _collected(failures: List[Exception]) -> Iterator[None]:
    try:
        yield
    except (NotProven, AgentError, OSError) as failure:
        failures.append(failure)


def _what_serves(before: State, running: Dict[str, Any]) -> str:
    """What a host is back to."""
    release = before.channels.get("stable")
    if not release:
        return "Nothing was deployed before; nothing is now."
    down = [name for name, record in before.programs.items() if not record.on_demand and name not in running]
    if down:
        return f"It is as before: release {release[:12]}, in which {', '.join(down)} did not run."
    return f"The old release {release[:12]} serves."
