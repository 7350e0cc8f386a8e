"""What can be known to fail before anything is disturbed."""

from __future__ import annotations

import mmap
import os
import subprocess
from typing import Any, Dict, List, Sequence

from . import engines, processes
from .decide import BESIDE, INSTALL, KEEP, REMOVE, RESTART, START, Step, View
from .launch import owner
from .layout import Layout
from .protocol import FAILED, REFUSED, AgentError
from .supervisors import Supervisor

# Room for the journal, launch folders and manifests, twice over so that undoing has room too.
DISK_RESERVE = 16 << 20
_PROBE_SECONDS = 20.0

# Tensor types that only microsoft/BitNet's llama.cpp reads; their names stand in its type table.
_FORK_TYPES = {"I2_S": b"i2_s", "TL1": b"tl1", "TL2": b"tl2"}
_ELF_MACHINE = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


def check(
    layout: Layout,
    supervisor: Supervisor,
    steps: Sequence[Step],
    services: Dict[str, Dict[str, Any]],
    documents: Dict[str, Dict[str, Any]],
    view: View,
) -> None:
    """Refuse what can't work.

    Args:
        services: program -> its description, for every program of `steps` that is not removed, and its candidate.
        documents: release -> release.json.

    Raises:
        AgentError: the first thing found, with what to do about it.
    """
    leaving = [step.program for step in steps if step.do == REMOVE]
    disk(layout)
    _rename_and_lock_hold(layout)
    supervisor.readable()
    for step in steps:
        if step.do in (KEEP, REMOVE):
            continue
        service = services[step.program]
        owner(service.get("user", ""))
        _name_is_ours(supervisor, service)
        supervisor.fetch(service["manifest"]["text"])
        if step.do != INSTALL:
            _ports(supervisor, step, service, leaving)
            _gpu_memory(step, service, view)
    _memory(steps, services, documents, view)
    for release, document in documents.items():
        for service in {item["name"]: item for item in document["lanes"]["stable"]["services"]}.values():
            if any(step.service == service["name"] and step.do not in (KEEP, REMOVE) for step in steps):
                _model(layout, release, document, service)


def disk(layout: Layout, needed: int = 0) -> None:
    free = os.statvfs(layout.root)
    available = free.f_bavail * free.f_frsize
    if available < DISK_RESERVE + needed:
        raise AgentError(
            REFUSED,
            f"{available >> 20} MiB are free under {layout.root}; {(DISK_RESERVE + needed) >> 20} MiB are needed.",
            next_step=f"make room there; `deploy exec -- du -xh {layout.root}` shows what takes it",
        )
    if free.f_files and free.f_favail < 1000:
        raise AgentError(REFUSED, f"only {free.f_favail} inodes are free under {layout.root}.")


def _rename_and_lock_hold(layout: Layout) -> None:
    """Both are what a transaction stands on; some network file systems have neither."""
    import fcntl

    probe, probed = (os.path.join(layout.private, name) for name in (".probe.new", ".probed.new"))
    with open(probe, "w", encoding="ascii") as first:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(probe, encoding="ascii") as second:
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
                raise AgentError(REFUSED, f"flock does not hold on the file system of {layout.root}.")
            except OSError:
                pass
    os.replace(probe, probed)
    os.unlink(probed)


def _name_is_ours(supervisor: Supervisor, service: Dict[str, Any]) -> None:
    holder = supervisor.foreign(service["program"], service["manifest"]["name"])
    if holder:
        raise AgentError(
            REFUSED,
            f"the name {service['program']!r} is taken: {holder}.",
            next_step='give this target a name_prefix in deploy.toml, such as name_prefix = "{}-"'.format(
                service["manifest"]["name"].split(".", 1)[0]
            ),
        )


def _ports(supervisor: Supervisor, step: Step, service: Dict[str, Any], leaving: Sequence[str]) -> None:
    listening = processes.listening_inodes()
    for port in service["ports"]:
        if port not in listening:
            continue
        names = [step.program, *leaving]
        own = {pid for name in names for pid in supervisor.members(name)}
        own |= {pid for pids in supervisor.strays(names).values() for pid in pids}  # they end before it starts
        if not processes.listens(own, port):
            raise AgentError(
                REFUSED,
                f"port {port} of {step.program} is taken by {processes.holder(port)}.",
                next_step=f"stop that, or change services.{step.service}.port in deploy.toml",
            )


def _memory(
    steps: Sequence[Step], services: Dict[str, Dict[str, Any]], documents: Dict[str, Dict[str, Any]], view: View
) -> None:
    """All that starts has to fit at the same time; what ends first gives its memory back first."""
    stable = _stable_copies(documents)

    def measured(program: str) -> int:
        return int(view.programs.get(program, {}).get("memory_bytes") or 0)

    needed, free = 0, view.memory_available
    for step in steps:
        if step.do == REMOVE or (step.do == RESTART and step.how != BESIDE):
            free += measured(step.program)
        if step.do in (START, RESTART):
            # A canary that declares nothing will need what its stable copy takes.
            copy = step.program if step.do == RESTART else stable.get(step.program, "")
            needed += int(services[step.program]["needs"].get("memory_bytes") or measured(copy))
    if needed > free:
        names = ", ".join(step.program for step in steps if step.do in (START, RESTART))
        raise AgentError(
            REFUSED,
            f"{names}: {needed >> 20} MiB of memory are needed and {free >> 20} MiB are free.",
            next_step="lower resources.memory, stop something (deploy down --channel canary), or take a larger host",
        )


def _stable_copies(documents: Dict[str, Dict[str, Any]]) -> Dict[str, str]:
    """Canary program -> the stable program of the same service."""
    found = {}
    for document in documents.values():
        names = {item["name"]: item["program"] for item in document["lanes"]["stable"]["services"]}
        found.update({item["program"]: names[item["name"]] for item in document["lanes"]["canary"]["services"]})
    return found


def _gpu_memory(step: Step, service: Dict[str, Any], view: View) -> None:
    vram = service["needs"].get("vram_bytes") or 0
    if vram and view.vram_free is None:
        raise AgentError(REFUSED, f"{step.program} needs GPU memory and no GPU was found (nvidia-smi).")
    if vram and step.do != RESTART and vram > (view.vram_free or 0):
        raise AgentError(
            REFUSED,
            f"{step.program} needs {vram >> 20} MiB of GPU memory and {(view.vram_free or 0) >> 20} MiB are free.",
        )


def _model(layout: Layout, release: str, document: Dict[str, Any], service: Dict[str, Any]) -> None:
    """The binary of a model server runs here, and reads the types that the model holds."""
    binary, model = service.get("binary"), document["models"].get(service.get("model") or "")
    if not binary:
        return
    path = binary if os.path.isabs(binary) else os.path.join(layout.release(release), binary)
    if not set(document.get("engines", {})) <= set(engines.present(layout)) and path.startswith(layout.engines + "/"):
        raise AgentError(
            FAILED,
            f"the engine that {service['name']} runs on is damaged on this host, or its Python has gone.",
            next_step="deploy up, which ships it again",
        )
    if not os.access(path, os.X_OK):
        raise AgentError(FAILED, f"{path} is not an executable file on this host.", why="It is the service's `binary`.")
    _runs(path, service["name"])
    for tensor_type in (model or {}).get("tensor_types", []):
        mark = _FORK_TYPES.get(tensor_type)
        if mark and not any(_holds(part, mark) for part in _parts(path)):
            raise AgentError(
                REFUSED,
                f"{service['name']}: the model holds {tensor_type} tensors, which {binary} can't read.",
                why="I2_S, TL1 and TL2 are read by builds of microsoft/BitNet alone; upstream reads TQ1_0 and TQ2_0.",
                next_step="deploy native build --source PATH-TO-BITNET, or convert the model to TQ2_0",
            )


def _runs(path: str, service: str) -> None:
    with open(path, "rb") as stream:
        head = stream.read(20)
    if head[:4] == b"\x7fELF":
        built_for = _ELF_MACHINE.get(int.from_bytes(head[18:20], "little"), "another machine")
        if built_for != os.uname().machine:
            raise AgentError(REFUSED, f"{service}: {path} is built for {built_for}; this host is {os.uname().machine}.")
    try:
        status, said = processes.version(path, _PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError(FAILED, f"{service}: {path} --version does not run here: {error}") from None
    if status != 0:
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        raise AgentError(
            FAILED,
            f"{service}: {path} does not run here ({how}: {said}).",
            why="Signal 4 means an instruction that this CPU lacks; 127 a missing library.",
            next_step="deploy native build --profile portable",
        )


def _parts(path: str) -> List[str]:
    """The binary and the libraries that lie beside it."""
    folder = os.path.dirname(path)
    return [
        path,
        *(os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("lib") and ".so" in name),
    ]


def _holds(path: str, mark: bytes) -> bool:
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"\0" + mark + b"\0") >= 0
