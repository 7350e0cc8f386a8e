"""What starts fits beside what runs: all of it together in memory, each on the GPUs that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Mapping, Sequence

from ..contract import devices
from ..contract.failure import REFUSED, Failure
from ..contract.host_view import HostView
from ..contract.slots import CANARY, STABLE, home, services_in
from ..contract.steps import Do, How, Step
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument


def memory(
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
    enough([step.program for step in starting_], needed, free)


def enough(programs: Sequence[str], needed: int, free: int) -> None:
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


def gpu_memory(service: ServiceDocument, view: HostView, *, has_some: bool) -> None:
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


def gpus(supervisor: Supervisor, service: ServiceDocument, step: Step, steps: Sequence[Step], view: HostView) -> None:
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
