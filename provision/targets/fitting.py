"""What would fit where a model does not: a shorter context, or another quantization of the same repository.

The one comes from the model's header, as it is locked, the other from the sizes of the files that the Hub lists; where
it can't be asked, nothing is said of those. More than the weights of a file is taken to be the same for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from provision.errors import DeployError, UsageError
from provision.project.models import HUB, name_of

if TYPE_CHECKING:
    from provision.project.models import Model
    from provision.project.service import Service
    from provision.targets.deployment import Deployment

_NAMED = 3


def advice(deployment: Deployment, short: Mapping[str, Any]) -> str:
    """What to do so that a service fits; empty where its model says nothing of that.

    Args:
        short: `programs` that start, with what is `needed` of `short_of` (memory, vram), and what is `free`.
    """
    project = deployment.loaded.project
    documents = deployment.release.document["lanes"].values()
    named = {each["program"]: each["name"] for lane in documents for each in lane["services"]}
    served = {named[program] for program in short["programs"] if program in named}
    for name in sorted(served):
        service = project.services[name]
        if service.model in project.models:
            # What the others need is as it is.
            return _of_model(deployment, service, project.models[service.model], short)
    return ""


def _of_model(deployment: Deployment, service: Service, model: Model, short: Mapping[str, Any]) -> str:
    from bitnet.model import largest_context, memory_needed, vram_needed  # brings numpy
    from provision.release.model_needs import gpu_layers, locked_facts, serving

    name = name_of(service.model or "")
    facts, layers = locked_facts(name, model, deployment.loaded.root), gpu_layers(service) or 0
    served, over = serving(service, facts), int(short["needed"] - short["free"])
    cards = max(1, service.resources.devices)
    needs = partial(vram_needed, gpu_layers=layers) if short["short_of"] == "vram" else partial(memory_needed)
    over *= cards if short["short_of"] == "vram" else 1
    words = []
    context = largest_context(facts, served, needs(facts, served) - over, needs)
    if context:
        words.append(f"a context of {context} tokens fits (--ctx-size {context})")
    smaller = _smaller(name, model, facts.size - over, deployment.loaded.token_of(model))
    if smaller:
        words.append(f"of the same repository {' or '.join(smaller)} would")
    if short["short_of"] == "vram":
        words.append(f"a GPU with {needs(facts, served) / cards / 1e9:.0f} GB free would")
    return "; ".join(words)


def _smaller(name: str, model: Model, most: int, token: str) -> list[str]:
    """The largest models of the repository that have no more than `most` bytes."""
    if not model.source.startswith(HUB):
        return []
    from provision.models import hub

    try:
        there = hub.others(name, model.source, token)
    except (DeployError, UsageError):
        return []
    fitting = sorted((size, file) for file, size in there.items() if 0 < size <= most)[-_NAMED:]
    return [f"{file} ({size / 1e9:.2f} GB)" for size, file in reversed(fitting)]
