"""Rules about models that are declared by where they are."""

from __future__ import annotations

from collections.abc import Iterator

from provision.contract.model_types import is_llama_server
from provision.project.fault import Fault, did_you_mean
from provision.project.models import PICKLES, REGISTRY, STORE, AtTheHub, place
from provision.project.rules.view import Sound
from provision.project.service import Service

_OF_SAFETENSORS = ("vllm", "sglang")  # presets


def _digests(view: Sound) -> Iterator[Fault]:
    for name, model in view.models.items():
        if not model.says_digest and model.sha256 is None:
            hint = "Add it, as whoever publishes the file says, or as sha256sum says of your own copy."
            message = "missing: of an address nobody else says which file is meant."
            yield Fault(("models", name, "sha256"), message, hint)


def _snapshots(view: Sound) -> Iterator[Fault]:
    for name, model in view.models.items():
        for key in ("allow", "ignore"):
            patterns = getattr(model, key)
            if patterns and not model.is_snapshot:
                message = "says which files of a repository are taken, and source names one."
                yield Fault(("models", name, key), message, "Leave it out.")
        for index, pattern in enumerate(model.allow):
            if pattern.endswith(PICKLES):
                message = "a file of that kind runs what is in it in whoever loads it, so none is fetched."
                hint = "Take the repository's safetensors, or convert it to them."
                yield Fault(("models", name, "allow", index), message, hint)
        if model.is_snapshot and model.sha256:
            message = "is of one file, and source names a repository: models.lock has the digest of each."
            yield Fault(("models", name, "sha256"), message, "Leave it out.")


def _kinds(view: Sound) -> Iterator[Fault]:
    """A program reads GGUF files, or a snapshot of safetensors; never the other."""
    for name, service in view.services.items():
        for key, model in service.models.items():
            declared = view.models.get(model)
            if declared and declared.is_snapshot and _reads_gguf(service):
                repository = AtTheHub(declared.source).repository
                message = f"llama-server reads GGUF files, and models.{model} is a snapshot of safetensors."
                hint = (
                    f'Name a file of a repository that has them: source = "hf://{repository}-GGUF:Q4_K_M"; '
                    'or let preset = "vllm" serve it.'
                )
                yield Fault(("services", name, key), message, hint)
        if service.model and service.preset in _OF_SAFETENSORS:
            declared = view.models.get(service.model)
            if declared is None or not declared.is_snapshot:
                hint = 'Name a repository alone: source = "hf://ORG/REPOSITORY"; or take preset = "bitnet-server".'
                message = f"the preset {service.preset} serves snapshots of safetensors, and this is no such."
                yield Fault(("services", name, "model"), message, hint)


def _reads_gguf(service: Service) -> bool:
    return service.engine is not None or is_llama_server(service.binary or "")


def _tokens(view: Sound) -> Iterator[Fault]:
    for name, model in view.models.items():
        if model.token and model.source.startswith((STORE, REGISTRY)):
            of_a_store = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in .env or where the AWS CLI keeps them."
            hint = of_a_store if model.source.startswith(STORE) else "docker login"
            yield Fault(("models", name, "token"), "is for the Hub and for addresses.", f"Leave it out. Here: {hint}")


def _misspelt(view: Sound) -> Iterator[Fault]:
    for name, key, model in _words(view):
        if meant := did_you_mean(model, view.models):
            hint = f'{meant} A file of yours that is called so: "./{model}".'
            yield Fault(("services", name, key), f'no model is declared as "{model}".', hint)


def _words(view: Sound) -> Iterator[tuple[str, str, str]]:
    """Services one of whose models looks like the name of a declared one, and is none."""
    for name, service in view.services.items():
        for key, word in service.models.items():
            if "." not in word and "/" not in word and word not in view.models:
                yield name, key, word


def _unused(view: Sound) -> Iterator[Fault]:
    used = {each for service in view.services.values() for each in service.every_model}
    used |= {name for _, _, word in _words(view) for name in view.models if did_you_mean(word, [name])}
    if view.services.keys() != view.declared:
        return  # those that were not asked for may use it
    for name, model in view.models.items():
        if name not in used and not model.spare:
            hint = f'Let a service say model = "{name}", or leave it out.'
            yield Fault(("models", name), "no service has it.", hint, at_key=True)


def _places(view: Sound) -> Iterator[Fault]:
    taken = {place(name, model): name for name, model in view.models.items()}
    for name, service in view.services.items():
        for key, declared in service.models.items():
            if declared in taken:
                hint = f'Name that: {key} = "{taken[declared]}"; or give your own file another name.'
                message = f"that is where a release has models.{taken[declared]}."
                yield Fault(("services", name, key), message, hint)


def _besides(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.draft and not service.model:
            yield Fault(("services", name, "draft"), "drafts for a model, and the service has none.", "Add model.")
        if service.mmproj and not service.model:
            message = "lets a model see, and the service has none."
            yield Fault(("services", name, "mmproj"), message, "Add model.")


RULES = (_digests, _snapshots, _kinds, _tokens, _misspelt, _unused, _places, _besides)
