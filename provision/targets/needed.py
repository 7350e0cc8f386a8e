"""What a rented machine has to have: as declared, and as the project's models and binaries need besides.

A model needs the memory of a GPU for its layers and its context, or main memory; a disk has to hold every model twice,
for a release that replaces one keeps the other until it is proven. A compiled program needs the processor's features,
and the version of CUDA, that it was compiled for. All of it is read here, from headers and the record of a build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from provision.engines import wheel
from provision.errors import UsageError
from provision.providers.acceptance import Terms
from provision.providers.face import Needs, Offer
from provision.targets.acceptance import Demands

if TYPE_CHECKING:
    from bitnet.model import ModelFacts
    from provision.project.loaded import LoadedProject
    from provision.project.schema import Project
    from provision.project.service import Service
    from provision.project.target import Target

_RECORD = "build/build.json"  # of `deploy native build`
_RELEASES = 2  # the one that serves, and the one that replaces it
_ROOM = 3_000_000_000  # bytes: code, environments, logs
_SPARE = 1.1  # of a GPU's memory: CUDA's own, and what is lost between allocations
_MACHINE = "x86_64"  # what providers rent out


@dataclass(frozen=True)
class Needed:
    """What is searched for.

    Attributes:
        disk: bytes that are rented.
        room: bytes that have to be free on it.
        added: what the project needs beyond what is declared, in sentences.
    """

    needs: Needs
    disk: int
    room: int
    added: tuple[str, ...] = ()

    def demands(self, target: Target, offer: Offer | None) -> Demands:
        """What a machine has to show, whichever offer it was; None where that is not known any more."""
        declared, accept = target.needs, target.accept
        assert declared  # noqa: S101  (a target with a provider has it, or is refused)
        return Demands(
            Terms(
                gpu=offer.gpu if offer else "",
                gpus=self.needs.gpus,
                vram=offer.vram if offer else 0,
                vram_needed=self.needs.vram,
                cuda=max(offer.cuda if offer else 0.0, self.needs.cuda),
                capability=self.needs.capability,
                features=self.needs.features,
                free=self.room,
                written=accept.disk_writes,
                down=self.needs.down,
                speed=accept.speed,
            ),
            path=target.path,
            python=target.python,
            tools=("rsync", *target.can.tools),
            ports=declared.ports,
            download=accept.download or "",
        )


@dataclass(frozen=True)
class _Compiled:
    """What an engine was compiled for: the processor's features, a version of CUDA, the oldest GPU (8.9, say)."""

    features: frozenset[str] = frozenset()
    cuda: float = 0.0
    capability: float = 0.0


@dataclass(frozen=True)
class _Part:
    """What one service needs of each machine."""

    name: str
    vram: int = 0
    memory: int = 0
    compiled: _Compiled = _Compiled()


def needed(loaded: LoadedProject, target: Target) -> Needed:
    """What a target's machine has to have."""
    declared, budget = target.needs, target.budget
    assert declared and budget  # noqa: S101  (a target with a provider has both, or is refused)
    services = loaded.project.services_on(target)
    parts = [_part(name, service, loaded.project, loaded.root) for name, service in services.items()]
    room = _ROOM + _RELEASES * _models(services.values(), loaded.project, loaded.root)
    vram = int(_SPARE * sum(part.vram for part in parts)) // max(declared.gpus, 1)
    needs = Needs(
        gpu=declared.gpu,
        gpus=declared.gpus,
        vram=max(declared.vram or 0, vram),
        memory=max(declared.memory or 0, sum(part.memory for part in parts)),
        disk=max(declared.disk, room),
        down=declared.down or 0,
        up=declared.up or 0,
        reliability=declared.reliability,
        cuda=max((part.compiled.cuda for part in parts), default=0.0),
        capability=max((part.compiled.capability for part in parts), default=0.0),
        features=frozenset().union(*(part.compiled.features for part in parts)),
        ports=len(declared.ports) + 1,
        kind=budget.kind,
    )
    plain = replace(needs, vram=declared.vram or 0, memory=declared.memory or 0, disk=declared.disk)
    return Needed(needs, needs.disk, min(room, needs.disk), tuple(_added(plain, needs)))


def _added(declared: Needs, needs: Needs) -> Iterator[str]:
    if needs.vram > declared.vram:
        yield f"{_size(needs.vram)} of each GPU's memory, for the models and their contexts"
    if needs.memory > declared.memory:
        yield f"{_size(needs.memory)} of main memory, for what runs on the processor"
    if needs.disk > declared.disk:
        yield f"{_size(needs.disk)} of disk, for two releases with their models"
    if needs.features:
        yield f"a processor with {', '.join(sorted(needs.features))}, for which the engine is compiled"
    if needs.capability:
        yield f"a GPU of capability {needs.capability:g} or newer, for which the engine is compiled"
    if needs.cuda:
        yield f"a driver for CUDA {needs.cuda:g}, for which the engine is compiled"


def _part(name: str, service: Service, project: Project, root: Path) -> _Part:
    from provision.release.model_needs import ON_GPUS, draft_needed, projector_needed, serving

    declared = service.resources
    model, drafts, sees = (_facts(each, project, root) for each in (service.model, service.draft, service.mmproj))
    copies = service.replicas
    on_gpu = service.engine != "wheel" and (
        declared.devices > 0 or _given(service.known_words, ON_GPUS) not in ("", "0")
    )
    vram = declared.vram or 0
    memory = declared.memory or 0
    if not declared.vram and (asked := _of_snapshot(service, project, root)):
        vram = int(asked / _SPARE)  # which has its own
    if model is not None:
        from bitnet.model import memory_needed, plan_gpu_layers  # brings numpy

        served = serving(service, model)
        everything = memory_needed(model, served)
        fits = on_gpu and plan_gpu_layers(model, served, 1 << 50).layers > 0
        if fits:
            vram = vram or everything
        else:
            memory = memory or everything
        if drafts is not None:
            besides = draft_needed(service, drafts, on_gpus=fits)
            vram += 0 if declared.vram else besides.vram
            memory += 0 if declared.memory else besides.memory
        if sees is not None:
            besides = projector_needed(service, sees, on_gpus=fits)
            vram += 0 if declared.vram else besides.vram
            memory += 0 if declared.memory else besides.memory
    return _Part(name, copies * vram, copies * memory, _compiled(service, root))


def _of_snapshot(service: Service, project: Project, root: Path) -> int:
    """Bytes of GPUs' memory that a server of safetensors needs; 0 where its model is none, or not locked."""
    from provision.release.model_needs import needed as needed_by

    try:
        declared = project.models.get(service.model or "")
        found = needed_by({"": service}, project.models, root) if declared and declared.is_snapshot else {}
    except UsageError:
        return 0
    return found[""].vram * service.resources.devices if found else 0


def _facts(model: str | None, project: Project, root: Path) -> ModelFacts | None:
    """What a model is made of; None where there is none, or it is not here, or not locked."""
    from provision.release.model_needs import facts_of

    try:
        return facts_of(model, project.models, root)
    except UsageError:
        return None


def _models(services: Collection[Service], project: Project, root: Path) -> int:
    """Bytes of all models that are brought there, each once, and of the engine that is."""
    from provision.project.models import name_of
    from provision.release import model_lock
    from provision.release.models import is_hosts_own, parts

    engine = wheel().wheels[_MACHINE].unpacked if any(service.engine == "wheel" for service in services) else 0
    models = {model for service in services for model in service.every_model}
    here = {each for each in models if each not in project.models and not is_hosts_own(each)}
    files = {part.resolve() for model in here for part in parts(model, root)}
    known = model_lock.read(root).entries
    named = (name_of(each) for each in models if each in project.models)
    locked = (known[name].bytes for name in named if name in known)
    return engine + sum(file.stat().st_size for file in files if file.is_file()) + sum(locked)


def _compiled(service: Service, root: Path) -> _Compiled:
    if service.engine == "wheel":
        return _Compiled(frozenset(wheel().wheels[_MACHINE].features))
    if service.engine != "build":
        return _Compiled()
    try:
        record = json.loads((root / _RECORD).read_text(encoding="utf-8"))
        version = str(record.get("cuda", {}).get("version", "0")).split(".")
        gpus = re.findall(r"\d+", str(record.get("flags", {}).get("CMAKE_CUDA_ARCHITECTURES", "")))
        return _Compiled(
            frozenset(map(str, record["cpu"]["features"])),
            float(".".join(version[:2])),
            min(map(int, gpus), default=0) / 10,
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return _Compiled()


def _given(words: Sequence[str], options: Sequence[str]) -> str:
    """What the last of these options is given; empty where it is not there."""
    found = ""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name in options:
            found = value or following
    return found


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
