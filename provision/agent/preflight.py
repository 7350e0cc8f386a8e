"""What can be known to fail before anything is disturbed."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Dict, List, Mapping, Sequence

from ..contract import devices
from ..contract.decide import Do, HostView, How, Step
from ..contract.failure import FAILED, REFUSED, Failure
from ..contract.layout import Layout
from ..contract.model_types import check_image, is_llama_server
from ..contract.slots import CANARY, FIRST, STABLE, TRAFFIC, home, services_in, services_of
from . import binaries, data, engines, environments, files, importable, own_models, place, processes, trust
from .launch import owner
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument

# Room for the journal, launch folders and manifests, twice over so that undoing has room too.
DISK_RESERVE = 16 << 20
INODE_RESERVE = 1000
_MANIFESTS_RESERVE = 256 << 10  # bytes, for manifests and first lines of logs, on whatever disks those are
_PROBE_SECONDS = 20.0


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
            model(layout, release, document, service)
            _model_of_image(supervisor, document, service)


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
    front = _front(documents)
    _ports(supervisor, [services[step.program] for step in started if step.service != TRAFFIC], leaving, front)
    # It serves what others leave, and a port more does not start it anew.
    fronts = [services[step.program] for step in steps if step.service == TRAFFIC and step.do is not Do.REMOVE]
    _ports(supervisor, fronts, [*leaving, *(step.program for step in changed if step.service != TRAFFIC)])
    if not supervisor.in_containers:
        for step in started:
            own_models.judge(services[step.program])
    for step in started:
        if devices.want(services[step.program]) is None:
            _gpu_memory(services[step.program], view, has_some=step.do is Do.RESTART)
        else:
            _gpus(supervisor, services[step.program], step, steps, view)
    leaves = processes.memory_bytes(supervisor.members_of_theirs(supervisor.theirs(supervisor.taking)))
    _memory(steps, services, documents, view._replace(memory_available=view.memory_available + leaves))
    _owners_and_names(supervisor, candidates)
    _ports(supervisor, candidates, [])
    for candidate in candidates:
        if devices.want(candidate) is None:
            _gpu_memory(candidate, view, has_some=False)
        _enough([candidate["program"]], candidate["needs"].get("memory_bytes") or 0, view.memory_available)


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


def _front(documents: Mapping[str, ReleaseDocument]) -> str:
    """The program that stands before the others; empty where none does."""
    found = (
        service["program"]
        for document in documents.values()
        for service in services_of(document, STABLE)
        if "traffic" in document and service["name"] == TRAFFIC
    )
    return next(found, "")


def _ports(
    supervisor: Supervisor, services: Sequence[ServiceDocument], leaving: Sequence[str], front: str = ""
) -> None:
    listening = processes.listening_inodes()
    held = [service for service in services if any(port in listening for port in service["ports"])]
    if not held:
        return
    names = [*leaving, *(service["program"] for service in held)]
    families, strays = supervisor.families(names), supervisor.strays(names)  # both end before anything starts
    sockets_of = {name: processes.sockets_of(families[name] | strays[name]) for name in names}
    taken = processes.sockets_of(supervisor.members_of_theirs(supervisor.theirs(supervisor.taking)))
    left = taken.union(*(sockets_of[name] for name in leaving))
    for service in held:
        for port in service["ports"]:
            if port in listening and not listening[port] & (left | sockets_of[service["program"]]):
                if front and listening[port] & processes.sockets_of(supervisor.families([front])[front]):
                    raise Failure(
                        REFUSED,
                        f"port {port} of {service['program']} is what its requests come by, and it is told no other.",
                        f"No word of its command or env takes ${{port}} any more, and {front} has that port.",
                        f"write ${{port}} where services.{service['name']} has its number, or give it another port",
                    )
                pids = {pid for pid in processes.pids() if processes.sockets_of([pid]) & listening[port]}
                theirs = supervisor.theirs_with(pids)
                way = f"stop that, or change services.{service['name']}.port in deploy.toml"
                if service["name"] == TRAFFIC:
                    way = "stop that, or change the port (a service's, or its proxy's), or leave it: traffic = \"none\""
                raise Failure(
                    REFUSED,
                    f"port {port} of {service['program']} is taken by {processes.holder(port)}"
                    + (f", which {supervisor.kind} starts as {theirs!r}." if theirs else "."),
                    next_step=f'{way}; or, to replace it: take_over = ["{theirs}"] in the target' if theirs else way,
                )


def _memory(
    steps: Sequence[Step],
    services: Mapping[str, ServiceDocument],
    documents: Mapping[str, ReleaseDocument],
    view: HostView,
) -> None:
    """All that starts has to fit at the same time; what ends first gives its memory back first."""
    stable = _stable_copies(documents)
    starting_ = [step for step in steps if step.do in (Do.START, Do.RESTART)]
    beside = {step.service for step in steps if step.how is How.BESIDE}  # the old ones end last
    leaving = [
        step
        for step in steps
        if (step.do is Do.REMOVE and step.service not in beside)
        or (step.do is Do.RESTART and step.how is not How.BESIDE)
    ]
    needed = 0
    for step in starting_:
        # A canary that declares nothing will need what its stable copy takes.
        copy = step.program if step.do is Do.RESTART else stable.get(step.program, "")
        needed += services[step.program]["needs"].get("memory_bytes") or view.memory(copy)
    free = view.memory_available + sum(view.memory(step.program) for step in leaving)
    _enough([step.program for step in starting_], needed, free)


def _enough(programs: Sequence[str], needed: int, free: int) -> None:
    if needed > free:
        raise Failure(
            REFUSED,
            f"{', '.join(programs)}: {needed >> 20} MiB of memory are needed and {free >> 20} MiB are free.",
            next_step="lower resources.memory, or declare it where a model takes less than its header says; "
            "or lower a model's context or quantization, or stop something (deploy down --channel canary), "
            "or take a larger host",
            facts={"short_of": "memory", "programs": list(programs), "needed": needed, "free": free},
        )


def _stable_copies(documents: Mapping[str, ReleaseDocument]) -> Dict[str, str]:
    """Canary program -> the stable program of the same service."""
    found = {}
    for document in documents.values():
        names = {item["name"]: item["program"] for item in services_in(document, home(STABLE))}
        found.update({item["program"]: names[item["name"]] for item in services_in(document, home(CANARY))})
    return found


def _gpu_memory(service: ServiceDocument, view: HostView, *, has_some: bool) -> None:
    """`has_some`: it ends first, and gives back what it has."""
    vram = service["needs"].get("vram_bytes") or 0
    if vram and view.vram_free is None:
        raise Failure(REFUSED, f"{service['program']} needs GPU memory and no GPU was found (nvidia-smi).")
    free = view.vram_free or 0
    if vram and not has_some and vram > free:
        raise Failure(
            REFUSED,
            f"{service['program']} needs {vram >> 20} MiB of GPU memory and {free >> 20} MiB are free.",
            facts={"short_of": "vram", "programs": [service["program"]], "needed": vram, "free": free},
        )


def _gpus(supervisor: Supervisor, service: ServiceDocument, step: Step, steps: Sequence[Step], view: HostView) -> None:
    """It was given what it wants."""
    if supervisor.in_containers and "ROCR_VISIBLE_DEVICES" in devices.variables(step.devices, view.gpus or ()):
        raise Failure(REFUSED, f"{step.program} is a container, and those are given GPUs of NVIDIA's alone.")
    wanted = devices.want(service)
    if wanted is None or len(step.devices) == wanted.number:
        return
    if not view.gpus:
        raise Failure(REFUSED, f"{step.program} needs a GPU, and none was found (nvidia-smi, rocm-smi).")
    fraction = service["needs"].get("gpu_fraction")
    needed = (
        f"{fraction:g} of a GPU" if fraction else "a GPU of its own" if wanted.number == 1 else f"{wanted.number} GPUs"
    )
    room = f" with {wanted.vram >> 20} MiB free" if wanted.vram else ""
    having = {gpu["uuid"]: [each.program for each in steps if gpu["uuid"] in each.devices] for gpu in view.gpus}
    raise Failure(
        REFUSED,
        f"{step.program} needs {needed}{room}, and none of {len(view.gpus)} is left for it.",
        why="; ".join(
            f"{devices.short(gpu['uuid'])}, {gpu['memory_free'] >> 20} MiB free: "
            f"{', '.join(having[gpu['uuid']]) or 'nobody'}"
            for gpu in view.gpus
        )
        + ".",
        next_step="fewer replicas, or resources.gpu_fraction = 0.5 instead of gpus, with which two share one",
    )


def binary(layout: Layout, release: str, service: ServiceDocument) -> str:
    """Where the `binary` of a service is on this host; empty for what has none."""
    named = service.get("binary") or ""
    return os.path.join(layout.release(release), named) if named else ""


def model(layout: Layout, release: str, document: ReleaseDocument, service: ServiceDocument) -> None:
    """The `binary` of a service is a program for this host; llama-server runs here and reads the types of its model."""
    path = binary(layout, release, service)
    if not path:
        return
    if not set(document.get("engines", {})) <= set(engines.present(layout)) and path.startswith(layout.engines + "/"):
        raise Failure(
            FAILED,
            f"the engine that {service['name']} runs on is damaged on this host, or its Python has gone.",
            next_step="deploy up, which ships it again",
        )
    if not os.access(path, os.X_OK):
        raise Failure(FAILED, f"{path} is not an executable file on this host.", why="It is the service's `binary`.")
    binaries.check(service, document, path, os.uname().machine)
    if is_llama_server(path):  # what another program makes of --version is not known: it may begin to serve
        _runs(path, service["name"])


def _model_of_image(supervisor: Supervisor, document: ReleaseDocument, service: ServiceDocument) -> None:
    """The program in a container's image reads the types that the model holds; one of the release was looked at."""
    served = document["models"].get(service.get("model") or "")
    if supervisor.in_containers and served and not service.get("binary"):
        manifest = service["manifest"]["text"]
        image = json.loads(manifest)["Image"]
        check_image(service["name"], service["model"], served["tensor_types"], image, supervisor.labels(manifest))


def _runs(path: str, service: str) -> None:
    try:
        status, said = processes.version(path, _PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(FAILED, f"{service}: {path} --version does not run here: {error}") from None
    if status != 0:
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        raise Failure(
            FAILED,
            f"{service}: {path} does not run here ({how}: {said}).",
            why="Signal 4 means an instruction that this CPU lacks; 127 a missing library.",
            next_step="deploy native build --profile portable",
        )
