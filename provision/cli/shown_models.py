"""What `deploy model show` says of a model: what it is made of, and what each service that has it needs for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from provision.project.models import place

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject
    from provision.project.models import Model
    from provision.project.schema import Project

Shown = tuple[Mapping[str, Any], list[str]]  # the event, and the lines


def of_model(name: str, model: Model, token: str, loaded: LoadedProject) -> Shown:
    """One of GGUF files. Raises as `provision.models.found.find`."""
    from bitnet.model import Serving, memory_needed, vram_needed  # brings numpy
    from provision.models.found import find
    from provision.release.model_needs import draft_needed, projector_needed

    found = find(name, model, token, loaded.environment.variables)
    facts = found.facts
    types = ", ".join(f"{kind} {count}" for kind, count in facts.tensor_types.items())
    lines = [
        f"{name}: {facts.name or 'no name'}, {facts.architecture}, {found.locked.bytes / 1e9:.2f} GB",
        f"  {len(facts.layer_bytes)} layers, context {facts.context_length}, tensors: {types}",
    ]
    needs, vram = {}, {}
    for service, each in loaded.project.services.items():
        if each.draft == place(name, model):
            drafting = draft_needed(each, facts, on_gpus=False).memory
            lines.append(f"  services.{service}: {drafting / 1e9:.2f} GB besides, for it drafts there")
            needs[service] = drafting
        elif each.mmproj == place(name, model):
            seeing = projector_needed(each, facts, on_gpus=False).memory
            lines.append(f"  services.{service}: {seeing / 1e9:.2f} GB besides, for it lets the model see there")
            needs[service] = seeing
        elif each.model == place(name, model):
            serving = Serving.told(each.known_words)
            needs[service] = memory_needed(facts, serving)
            context = serving.context or facts.context_length
            vram[service] = vram_needed(facts, serving, len(facts.layer_bytes) + 1)
            on_gpu = f", or {vram[service] / 1e9:.2f} GB of a GPU's, with all layers there" if vram[service] else ""
            lines.append(f"  services.{service}: {needs[service] / 1e9:.2f} GB for a context of {context}{on_gpu}")
    event = {"event": "model", "memory_bytes": needs, "vram_bytes": vram, "bytes_read": found.read}
    return {**event, **facts.as_dict(), "name": name}, lines


def of_snapshot(name: str, model: Model, token: str, project: Project) -> Shown:
    """A repository of safetensors. Raises as `provision.models.snapshot.find`."""
    from provision.models import snapshot
    from provision.release import snapshots

    found = snapshot.find(name, model, token)
    locked, shape = found.locked, found.locked.shape
    types = ", ".join(f"{kind} {count / 1e9:.2f}" for kind, count in shape.parameters.items())
    weights, kept = snapshots.weights(shape) / 1e9, snapshots.cache(shape, 1024) / 1e6
    lines = [
        f"{name}: {locked.architecture or 'no name'}, {locked.bytes / 1e9:.2f} GB in {len(locked.files)} files",
        f"  {shape.layers + shape.windowed} layers, context {shape.context_length}, billions of parameters: {types}",
        f"  {weights:.2f} GB of weights, {kept:.1f} MB of cache for 1024 tokens",
    ]
    vram = {}
    for service, each in project.services.items():
        if each.model == place(name, model) and (asked := snapshots.vram_needed(each, shape)):
            vram[service] = asked
            cards = max(1, each.resources.devices)
            each_of = f"each of {cards} GPUs" if cards > 1 else "a GPU"
            lines.append(f"  services.{service}: {each_of} with {asked / 1e9:.1f} GB")
    event = {"event": "model", "name": name, "vram_bytes": vram, "bytes_read": found.read, "bytes": locked.bytes}
    return {**event, "architecture": locked.architecture, "revision": locked.revision}, lines
