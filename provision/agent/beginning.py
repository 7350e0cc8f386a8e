"""What a transaction does before it disturbs anything: stages what will be started, and writes down what runs.

What is staged lies beside what serves; where it can't be, nothing was disturbed. From the journal's first line on, "put
back" has a meaning: the programs that ran then, and what somebody else's configuration had started.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ..contract import devices
from ..contract.host_view import HostView
from ..contract.layout import Layout
from ..contract.steps import Do
from . import journal, launch, private_logs, processes, supervision, traffic
from .booted import boot_id
from .change import Change
from .keeper import scripts
from .passage import Passage
from .supervisors import Activity, Supervisor

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.records import Taken
    from ..contract.release import ServiceDocument


def stage(
    layout: Layout,
    supervisor: Supervisor,
    change: Change,
    services: Mapping[str, ServiceDocument],
    beside: Sequence[ServiceDocument],
    passage: Passage,
    view: HostView,
) -> None:
    """Lay out what the steps start, and what is tried beside it; not synced to the disk yet."""
    gpus = view.gpus or ()
    if supervisor.logs_in_project:
        users = {launch.owner(service["user"]) for service in services.values()}
        private_logs.keep(layout.logs, filter(None, users))
    for step in change.steps:
        if step.changes:
            record = change.after.programs[step.program]
            given = devices.variables(step.devices, gpus)
            launch.stage(layout, services[step.program], record.release, record.launch, change.secrets, given)
    if any(passage.is_front(step.program) and step.do is not Do.REMOVE for step in change.steps):
        traffic.stage(layout)  # also where it stays: the one that it was started from may have gone
    scripts.stage(layout, change.after, supervisor, change.agent)
    trials = {step.service: devices.variables(step.trial, gpus) for step in change.steps if step.trial}
    for candidate in beside:
        release, given = change.after.channels["stable"], trials.get(candidate["name"], {})
        launch.stage(layout, candidate, release, change.transaction, change.secrets, given)


class Found(NamedTuple):
    """What was there as a transaction began."""

    ran: Dict[str, List[int]]  # program -> pid and start time; zeros where another process of it counts
    taken: List[Taken]  # what somebody else's configuration starts, and this target takes over


def begin(
    layout: Layout,
    supervisor: Supervisor,
    change: Change,
    beside: Sequence[ServiceDocument],
    passage: Passage,
    view: HostView,
    emit: Emit,
) -> Found:
    """Write the journal's first line, with all that runs now."""
    _reserve(layout)
    supervision.restore(layout, supervisor, emit, patient=True)  # it may have been killed since it was planned
    kept = journal.Journal(layout.journal)
    found = _found(supervisor, change, kept.left_open(), view)
    kept.begin(
        {
            "step": journal.BEGIN,
            "transaction": change.transaction,
            "kind": change.kind,
            "who": change.who,
            "agent": change.agent,
            "before": change.before.as_dict(),
            "after": change.after.as_dict(),
            "candidates": {item["program"]: item["manifest"]["name"] for item in beside},
            "behind": [each.program for each in passage.behind],
            "running": found.ran,
            "boot": boot_id(),
            "time": time.time(),
            "taken": found.taken,
            **change.noted,
        }
    )
    return found


def _found(supervisor: Supervisor, change: Change, degraded: Optional[journal.Open], view: HostView) -> Found:
    """What runs now; and what did before `degraded`, which could not be put back: that is what "back" still means."""
    # What ran on without its supervisor, which somebody else has started again, served as well.
    ran = {name: [0, 0] for name, seen in view.programs.items() if seen["activity"] == Activity.UNSUPERVISED.value}
    for name, seen in supervisor.observe(list(change.before.programs)).items():
        if seen.activity is Activity.RUNNING:
            ran[name] = [seen.pid, processes.start_time(seen.pid)]
    changes = any(step.changes for step in change.steps)
    taken = supervisor.theirs(supervisor.taking) if changes else []
    if degraded:
        ran = {**{name: [0, 0] for name in degraded.begin["running"]}, **ran}
        taken = [*degraded.begin.get("taken", []), *taken]
    return Found(ran, taken)


def _reserve(layout: Layout) -> None:
    """Hold some disk space, so that undoing has room on a disk that fills up meanwhile."""
    fd = os.open(layout.reserve, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(fd, 0, 1 << 20)
    finally:
        os.close(fd)
