"""The two ways in which a transaction ends: the new state becomes the committed one, or the old one is put back.

Both go by what is written down, and both may be repeated: so whoever finds an open journal can end it.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, Dict, Iterable, Iterator, List, Mapping, Set

from ..contract import failure, roles, rollout
from ..contract.failure import Failure
from ..contract.layout import Layout
from ..contract.state import State, from_dict
from . import files, journal, once, processes, sharing, stepped, supervision, traffic
from . import state as states
from .booted import boot_id
from .documents import read_documents, service_of
from .leaving import drained, leaving
from .programs import Programs, levels

if TYPE_CHECKING:
    from ..contract.records import Begin, Begun, Line
    from ..contract.release import ReleaseDocument, ServiceDocument

_STOP_SECONDS = 10.0  # for what was never proven


def finish(layout: Layout, before: State, after: State, begin: Begun, leave_: Callable[[], None]) -> None:
    """Make the proven state the committed one.

    Args:
        begin: of the transaction, as its journal has it.
        leave_: `leave`, and what has to come before it.
    """
    files.remove(layout.reserve)  # first: the rest needs room
    if after.rollout:
        after = after._replace(rollout=rollout.dated(after.rollout, time.time()))
    open_ = journal.Journal(layout.journal).left_open()
    ran = once.keep(layout, open_) if open_ else {}
    for name in {*before.channels, *after.channels}:
        if name in after.channels:
            files.point(layout.channel(name), os.path.join("releases", after.channels[name]))
        else:
            files.remove(layout.channel(name))
    entry = states.entry_of(before, after, begin, open_.begin if open_ else None, ran)
    files.write_json(os.path.join(layout.history, states.entry_name(after.sequence)), entry)
    states.write(layout, after)
    files.remove(layout.once_secrets)
    leave_()
    if roles.stands_before(before) and not roles.stands_before(after):
        sharing.leave(layout)
        files.remove_tree(layout.traffic)
    journal.Journal(layout.journal).end()


def settle(layout: Layout) -> None:
    """Write into the state what a keeper noted who may not. The caller holds the project's lock. May be repeated."""
    before = states.committed(layout)
    for after, begun in stepped.taken(layout, before):
        finish(layout, before, after, begun, lambda: None)
        before = after


def leave(programs: Programs) -> None:
    """End the programs of before to which no request comes any more. May be repeated."""
    open_ = journal.Journal(programs.layout.journal).left_open()
    behind = open_.begin.get("behind", []) if open_ else []
    if not open_ or not behind:
        return
    before = from_dict(open_.begin["before"], programs.layout.journal)
    records = {name: before.programs[name] for name in behind}
    documents = read_documents(programs.layout, {record.release for record in records.values()})
    for name in behind:
        programs.step("stop", name, "its last request has ended")
    programs.stop([service_of(documents, name, record) for name, record in records.items()])
    programs.drop({name: record.manifest for name, record in records.items()})


def undo(programs: Programs) -> str:
    """Make the host what the journal's `before` says, and prove it; a sentence of what serves now.

    Raises:
        Failure, OSError: it can't be proven; the journal is kept and says `degraded`.
    """
    kept = journal.Journal(programs.layout.journal)
    open_ = kept.left_open()
    assert open_ is not None  # noqa: S101  whoever undoes has seen it
    begin = open_.begin
    before = from_dict(begin["before"], programs.layout.journal)
    files.remove(programs.layout.reserve)
    _note(kept, {"step": journal.UNDO})
    try:
        failed = _take_back_once(programs, open_)
        open_ = kept.left_open() or open_
        taken = begin.get("taken", [])
        programs.supervisor.give_back(taken)  # before it may be started anew
        try:
            _put_back(programs, before, begin, open_.touched)
        except (Failure, OSError):
            if not programs.supervisor.gone():
                raise
            _put_back(programs, before, begin, open_.touched)  # it was killed on the way
        if taken:
            programs.supervisor.start_again(taken)
        if failed:
            raise Failure(failure.FAILED, " ".join(failed))
    except (Failure, OSError) as error:
        _note(kept, {"step": journal.DEGRADED, "why": failure.of(error).sentence})
        raise
    files.remove(programs.layout.once_secrets)
    kept.end()
    programs.remember(before, before, begin["running"])
    theirs = [f"{each['name']} of {each['path']} runs as before." for each in taken if each.get("ran")]
    return " ".join([_what_serves(before, begin["running"]), *theirs, *once.sentences(once.told(open_))])


def _take_back_once(programs: Programs, open_: journal.Open) -> List[str]:
    """Undo what ran once for the release that does not stay; a sentence of each that could not be.

    Before the old programs start, which know nothing of it. What is kept of it says how it ended, whatever comes next.
    """
    if not once.told(open_):
        return []
    try:
        failed = once.Once(programs.layout, programs.emit).undo(open_)
        once.keep(programs.layout, journal.Journal(programs.layout.journal).left_open() or open_)
        return failed
    except (Failure, OSError) as error:
        return [failure.of(error).sentence]


def _note(kept: journal.Journal, line: Line) -> None:
    """Write down how far the way back is, if the disk has room: that the journal is there says enough."""
    try:
        kept.add(line)
    except OSError:
        pass


def _put_back(programs: Programs, before: State, begin: Begin, touched: Set[str]) -> None:
    """Every part that can be put back is, whichever other can't; then the first failure is raised."""
    failures: List[Exception] = []
    documents = read_documents(programs.layout, before.releases())
    after = from_dict(begin["after"], programs.layout.journal)
    new = {name: after.programs[name].manifest for name in sorted(touched) if name not in before.programs}
    new.update(begin["candidates"])
    with _collected(failures):
        _turn_back(programs, before, after, documents, begin, touched)
    revived = False
    if programs.supervisor.gone():
        # What starts with a supervisor that is started again must not be what was never proven.
        with _collected(failures):
            _describe_before(programs, before, after, documents, touched, new)
        _bring_back(programs, [*new, *touched])
        revived = not failures and programs.supervisor.starts()
    with _collected(failures):
        programs.end(dict.fromkeys(new, _STOP_SECONDS))
        programs.drop(new)
    services: Dict[str, ServiceDocument] = {}
    for name in before.programs:
        with _collected(failures):
            services[name] = traffic.described(before, documents, name)
    disturbed = [name for name in services if name in touched]
    if not revived:
        with _collected(failures):
            same = _still_run(programs, disturbed, begin)
            # Nobody waits for requests here: the old ones are down until this is over.
            programs.end({name: services[name]["stop_timeout"] for name in disturbed if name not in same})
    load = []
    for name in disturbed:
        with _collected(failures):
            record = before.programs[name]
            programs.describe(services[name], record.launch, after.programs.get(name), at_rest=record.stopped)
            load.append(name)
    with _collected(failures):
        programs.supervisor.load(load, [])
    start = [service for name, service in services.items() if name in begin["running"]]
    for level in levels(start):
        with _collected(failures):
            running = programs.running(service["program"] for service in level)
            down = [service for service in level if service["program"] not in running]
            # One that ran on without its supervisor has its ports.
            astray = programs.supervisor.strays([service["program"] for service in down])
            programs.end({item["program"]: item["stop_timeout"] for item in down if astray[item["program"]]})
            programs.start([service["program"] for service in down], "as before")
            programs.prove(level, before, worked=True)
    with _collected(failures):
        if (front := traffic.front_of(programs.layout, before, documents)) is not None:
            traffic.let_go(programs.layout, front, programs.waits.holds, programs.step)
        sharing.settle(programs.layout, before, documents)
    with _collected(failures):
        programs.supervisor.disable([name for name in disturbed if before.programs[name].stopped])
        programs.supervisor.enable([service["program"] for service in start if not service["on_demand"]])
    if failures:
        raise failures[0]


def _turn_back(
    programs: Programs,
    before: State,
    after: State,
    documents: Mapping[str, ReleaseDocument],
    begin: Begin,
    touched: Set[str],
) -> None:
    """Let requests come to those of before that still run, and wait for the others that are not there yet.

    Before anything that they came to is ended; it is given the time to answer.
    """
    if roles.stands_before(before) is None:
        return
    down = touched & set(before.programs)
    away = down - _still_run(programs, down, begin)
    front = traffic.front_of(programs.layout, before, documents, away)
    if front is not None:
        traffic.let_go(programs.layout, front, programs.waits.holds, programs.step)
    new = {name: record for name, record in after.programs.items() if name in touched and name not in before.programs}
    later = read_documents(programs.layout, {record.release for record in new.values()})
    drained(programs.layout, leaving(later, new), programs.step)


def _describe_before(
    programs: Programs,
    before: State,
    after: State,
    documents: Mapping[str, ReleaseDocument],
    touched: Set[str],
    new: Dict[str, str],
) -> None:
    """Let the files say what `before` says, without any supervisor."""
    for manifest in new.values():
        files.remove(programs.supervisor.manifest_path(manifest))
    for name in touched & set(before.programs):
        record = before.programs[name]
        service = service_of(documents, name, record)
        programs.describe(service, record.launch, after.programs.get(name), at_rest=record.stopped)


def _bring_back(programs: Programs, unproven: List[str]) -> None:
    """Have the supervisor again, or at least nothing that was never proven."""
    try:
        supervision.restore(programs.layout, programs.supervisor, programs.emit, patient=True)
    except Failure:
        processes.end(lambda: programs.supervisor.stray_pids(unproven), _STOP_SECONDS)
        raise


def _still_run(programs: Programs, names: Iterable[str], begin: Begin) -> Set[str]:
    """Those whose very process of before runs: announced but not reached, or finishing on their old code."""
    if begin["boot"] != boot_id():
        return set()
    known = {name: begin["running"].get(name, [0, 0]) for name in names}
    return programs.running(name for name, (pid, began) in known.items() if pid and processes.start_time(pid) == began)


@contextmanager
def _collected(failures: List[Exception]) -> Iterator[None]:
    try:
        yield
    except (Failure, OSError) as error:
        failures.append(error)


def _what_serves(before: State, running: Mapping[str, List[int]]) -> str:
    """What a host is back to."""
    release = before.channels.get("stable")
    if not release:
        return "Nothing was deployed before; nothing is now."
    down = [name for name, record in before.programs.items() if record.is_to_run and name not in running]
    if down:
        return f"It is as before: release {release[:12]}, in which {', '.join(down)} did not run."
    return f"The old release {release[:12]} serves."
