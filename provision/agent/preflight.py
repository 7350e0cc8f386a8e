"""What can be known to fail before anything is disturbed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, List, Mapping, Sequence

from ..contract import devices
from ..contract.failure import REFUSED, Failure
from ..contract.host_view import HostView
from ..contract.layout import Layout
from ..contract.slots import FIRST, TRAFFIC, services_in
from ..contract.steps import Do, Step
from . import data, environments, files, fits, importable, own_models, place, processes, runnable, taken_ports, trust
from .launch import owner
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument

# Room for the journal, launch folders and manifests, twice over so that undoing has room too.
DISK_RESERVE = 16 << 20
INODE_RESERVE = 1000
_MANIFESTS_RESERVE = 256 << 10  # bytes, for manifests and first lines of logs, on whatever disks those are


def check(
    layout: Layout,
    supervisor: Supervisor,
    steps: Sequence[Step],
    services: Mapping[str, ServiceDocument],
    candidates: Sequence[ServiceDocument],
    documents: Mapping[str, ReleaseDocument],
    view: HostView,
) -> None:
    """Refuse what can't work.

    Args:
        services: program -> its description, for every program of `steps` that is not removed.
        candidates: what is proven beside others first.
        documents: release -> release.json.

    Raises:
        Failure: the first thing found, with what to do about it.
    """
    disk(layout)
    _rename_and_lock_hold(layout)
    for folder in _written_to(supervisor, steps):
        files.try_writing(files.nearest(folder), _MANIFESTS_RESERVE)
    supervisor.readable()
    programs(supervisor, steps, services, candidates, documents, view)
    for service in [*(services[step.program] for step in steps if step.changes), *candidates]:
        supervisor.fetch(service["manifest"]["text"])
    tried = {candidate["name"] for candidate in candidates}
    for release, document in documents.items():
        if starting(steps, document):
            environments.demand(layout, document)
            data.demand(layout, document)
        for service in starting(steps, document):
            if service["name"] not in tried:  # what is started beside shows it before anything is disturbed
                importable.check(layout, release, service)
            runnable.demand(layout, release, document, service)
            runnable.demand_in_image(supervisor, document, service)


def programs(
    supervisor: Supervisor,
    steps: Sequence[Step],
    services: Mapping[str, ServiceDocument],
    candidates: Sequence[ServiceDocument],
    documents: Mapping[str, ReleaseDocument],
    view: HostView,
) -> None:
    """Refuse what stands against programs, as far as it needs no file of their release. Arguments as of `check`.

    Raises:
        Failure: an account is missing, a name or a port is taken, memory is short, or nothing can be written down.
    """
    for folder in _written_to(supervisor, steps):
        _demand_writable(folder)
    changed = [step for step in steps if step.changes]
    started = [step for step in changed if step.do is not Do.INSTALL]
    _owners_and_names(supervisor, [services[step.program] for step in changed])
    new = [step for step in changed if step.do is Do.START]
    supervisor.has_room(len(new) + len(candidates))
    leaving = [step.program for step in steps if step.do is Do.REMOVE]
    front = taken_ports.front_of(documents)
    taken_ports.demand(
        supervisor, [services[step.program] for step in started if step.service != TRAFFIC], leaving, front
    )
    # It serves what others leave, and a port more does not start it anew.
    fronts = [services[step.program] for step in steps if step.service == TRAFFIC and step.do is not Do.REMOVE]
    taken_ports.demand(supervisor, fronts, [*leaving, *(step.program for step in changed if step.service != TRAFFIC)])
    if not supervisor.in_containers:
        for step in started:
            own_models.judge(services[step.program])
    for step in started:
        if devices.want(services[step.program]) is None:
            fits.gpu_memory(services[step.program], view, has_some=step.do is Do.RESTART)
        else:
            fits.gpus(supervisor, services[step.program], step, steps, view)
    leaves = processes.memory_bytes(supervisor.members_of_theirs(supervisor.theirs(supervisor.taking)))
    fits.memory(steps, services, documents, view._replace(memory_available=view.memory_available + leaves))
    _owners_and_names(supervisor, candidates)
    taken_ports.demand(supervisor, candidates, [])
    for candidate in candidates:
        if devices.want(candidate) is None:
            fits.gpu_memory(candidate, view, has_some=False)
        fits.enough([candidate["program"]], candidate["needs"].get("memory_bytes") or 0, view.memory_available)


def starting(steps: Sequence[Step], document: ReleaseDocument) -> List[ServiceDocument]:
    """The services of a release, by their stable lane, of which some program is not left as it is."""
    changed = {step.service for step in steps if step.changes}
    return [service for service in services_in(document, FIRST) if service["name"] in changed]


def disk(layout: Layout, needed: int = 0) -> None:
    free = os.statvfs(layout.root)
    available = free.f_bavail * free.f_frsize
    if available < DISK_RESERVE + needed:
        raise Failure(
            REFUSED,
            f"{available >> 20} MiB are free under {layout.root}; {(DISK_RESERVE + needed) >> 20} MiB are needed.",
            next_step=f"make room there; deploy ssh, and there `du -xh {layout.root}`, shows what takes it",
        )
    if free.f_files and free.f_favail < INODE_RESERVE:
        raise Failure(REFUSED, f"only {free.f_favail} inodes are free under {layout.root}.")


def _written_to(supervisor: Supervisor, steps: Sequence[Step]) -> List[str]:
    """The folders outside `.deploy` in which these steps have something written, be it by the supervisor."""
    if all(step.do is Do.KEEP for step in steps):
        return []
    manifests = os.path.dirname(supervisor.manifest_path("a"))  # one folder has all of them
    return [manifests, supervisor.layout.logs] if supervisor.logs_in_project else [manifests]


def _demand_writable(folder: str) -> None:
    there = files.nearest(folder)
    if os.access(there, os.W_OK | os.X_OK):
        return
    read_only = os.statvfs(there).f_flag & os.ST_RDONLY
    raise Failure(
        REFUSED,
        f"{there} is mounted read-only." if read_only else f"{trust.account(os.geteuid())} may not write to {there}.",
        why="A program's description, or what it says, is written there. Nothing that runs was touched.",
        next_step="mount it to be written to, then: deploy up" if read_only else "let it, then: deploy up",
    )


def _rename_and_lock_hold(layout: Layout) -> None:
    """Both are what a transaction stands on; some network file systems have neither."""
    import fcntl

    probe, probed = (os.path.join(layout.private, name) for name in (".probe.new", ".probed.new"))
    with open(probe, "w", encoding="ascii") as first:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(probe, encoding="ascii") as second:
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
                raise Failure(REFUSED, f"flock does not hold on the file system of {layout.root}.")
            except OSError:
                pass
    os.replace(probe, probed)
    os.unlink(probed)


def _owners_and_names(supervisor: Supervisor, services: Sequence[ServiceDocument]) -> None:
    accounts = {user: owner(user) for user in {service.get("user", "") for service in services}}
    if not supervisor.in_containers:
        for account in {user if uid is not None else "" for user, uid in accounts.items()}:
            place.check(supervisor.layout.root, account)
    manifests = {service["program"]: service["manifest"]["name"] for service in services}
    for program, holder in supervisor.foreign(manifests).items():
        theirs = supervisor.theirs([program])
        if theirs and program in supervisor.taking:
            continue
        prefix = manifests[program].split(".", 1)[0]
        way = f'give this target a name_prefix in deploy.toml, such as name_prefix = "{prefix}-"'
        raise Failure(
            REFUSED,
            f"the name {program!r} is taken: {holder}.",
            next_step=f'{way}; or, to replace it: take_over = ["{program}"]' if theirs else way,
        )
