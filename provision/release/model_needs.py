"""What a service needs for its models: memory and GPUs' memory, as far as its command and their headers tell.

What depends on the host (how many layers are on GPUs, where the command leaves that open) is not guessed: then nothing
is said of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from provision.project.models import Model, name_of
from provision.project.service import Service
from provision.release import model_lock, snapshots

if TYPE_CHECKING:
    from bitnet.model import ModelFacts, Serving

ON_GPUS = ("-ngl", "--gpu-layers", "--n-gpu-layers")
_DRAFT_ON_GPUS = ("-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft", "--spec-draft-ngl")
_ALL_LAYERS = 1 << 20
# What puts tensors elsewhere than their layers (llama-server --help).
_MOVE_EXPERTS = ("-cmoe", "--cpu-moe", "-ncmoe", "--n-cpu-moe", "-ot", "--override-tensor", "-ts", "--tensor-split")
_PICTURE = 256 << 20  # bytes: what a picture of a million pixels takes while it is looked at
_LEAST_CONTEXT = 4096  # tokens (llama-server --help, --fit-ctx)


@dataclass(frozen=True)
class Needed:
    """What a service needs for its model, as far as its command and the model's header tell."""

    memory: int  # bytes; 0 where that is declared, or not known here
    vram: int  # on each of its GPUs


def needed(services: Mapping[str, Service], declared: Mapping[str, Model], root: Path) -> dict[str, Needed]:
    """By service, what declared models need, where the service itself does not say.

    Raises:
        UsageError: a model is not locked.
    """
    found: dict[str, Needed] = {}
    for name, service in services.items():
        if service.model is None or service.model not in declared or service.resources.memory:
            continue
        if declared[service.model].is_snapshot:
            if service.resources.vram:
                continue
            shape = model_lock.locked_snapshot(name_of(service.model), declared[service.model], root).shape
            if asked := snapshots.vram_needed(service, shape):
                found[name] = Needed(0, asked)
            continue
        layers, has_gpus = gpu_layers(service), service.resources.devices > 0
        if layers is None or (layers > 0) is not has_gpus or service.resources.vram:
            continue  # how much of it is in main memory depends on the host
        from bitnet.model import memory_needed, vram_needed  # brings numpy

        facts = locked_facts(name_of(service.model), declared[service.model], root)
        served = serving(service, facts)
        vram = vram_needed(facts, served, layers)
        in_memory = memory_needed(facts, served, layers if vram else 0)
        if (drafts := facts_of(service.draft, declared, root)) is not None:
            of_draft = draft_needed(service, drafts, on_gpus=vram > 0)
            vram, in_memory = vram + of_draft.vram, in_memory + of_draft.memory
        if (sees := facts_of(service.mmproj, declared, root)) is not None:
            of_projector = projector_needed(service, sees, on_gpus=vram > 0)
            vram, in_memory = vram + of_projector.vram, in_memory + of_projector.memory
        found[name] = Needed(in_memory, vram // max(1, service.resources.devices))
    return found


def facts_of(model: str | None, declared: Mapping[str, Model], root: Path) -> ModelFacts | None:
    """What a service's model or draft is made of; None where there is none, it is no GGUF, or can't be read here.

    Raises:
        UsageError: it is declared by where it is, and not locked.
    """
    if not model or (model in declared and declared[model].is_snapshot):
        return None
    if model in declared:
        return locked_facts(name_of(model), declared[model], root)
    from bitnet.model import ModelUnusable, read_model  # brings numpy

    try:
        return read_model(root / Path(model).expanduser())
    except (ModelUnusable, OSError):
        return None


def draft_needed(service: Service, drafts: ModelFacts, on_gpus: bool) -> Needed:
    """What its draft model needs besides, with a context as long.

    Args:
        on_gpus: whether the service uses them; all layers are there then, where its command does not say how many.
    """
    from bitnet.model import memory_needed, vram_needed  # brings numpy

    served = replace(serving(service, drafts), keys="f16", values="f16")
    layers = gpu_layers(service, _DRAFT_ON_GPUS, _ALL_LAYERS) if on_gpus else 0
    vram = vram_needed(drafts, served, _ALL_LAYERS if layers is None else layers)
    return Needed(memory_needed(drafts, served, layers or 0 if vram else 0), vram)


def projector_needed(service: Service, sees: ModelFacts, on_gpus: bool) -> Needed:
    """What its projector needs besides: its weights, and what one picture is computed with.

    Args:
        on_gpus: whether the service uses them; the projector is there too then, unless its command says otherwise.
    """
    whole = sees.size + _PICTURE
    there = on_gpus and not {"--no-mmproj-offload"} & set(service.known_words)
    return Needed(0 if there else whole, whole if there else 0)


def gpu_layers(service: Service, options: Sequence[str] = ON_GPUS, unsaid: int = 0) -> int | None:
    """How many layers its command puts on GPUs; None where that depends on the host."""
    said = service.known_words
    if any(word.partition("=")[0] in _MOVE_EXPERTS for word in said):
        return None
    layers = unsaid
    for word, following in zip(said, [*said[1:], ""], strict=True):
        option, _, value = word.partition("=")
        if option in options:
            number = value or following
            if number != "all" and not number.isdecimal():
                return None
            layers = _ALL_LAYERS if number == "all" else int(number[:6])
    return layers


def serving(service: Service, facts: ModelFacts) -> Serving:
    """How its command serves a model, with the least context where it says none."""
    from bitnet.model import Serving

    said = Serving.told(service.known_words)
    if said.context:
        return said
    return replace(said, context=min(facts.context_length, _LEAST_CONTEXT))  # llama-server takes what there is room for


def locked_facts(name: str, model: Model, root: Path) -> ModelFacts:
    """What a model that hosts fetch is made of, as its lock says.

    Raises:
        UsageError: it is not locked.
    """
    from bitnet.model import ModelFacts

    locked = model_lock.locked(name, model, root)
    return ModelFacts(
        Path(name), name="", architecture=locked.architecture, chat_template=False, **asdict(locked.shape)
    )
