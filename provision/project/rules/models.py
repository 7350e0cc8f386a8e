"""Rules about models that are declared by where they are."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault, did_you_mean
from provision.project.models import REGISTRY, STORE, place
from provision.project.rules.view import Sound


def _digests(view: Sound) -> Iterator[Fault]:
    for name, model in view.models.items():
        if not model.says_digest and model.sha256 is None:
            hint = "Add it, as whoever publishes the file says, or as sha256sum says of your own copy."
            message = "missing: of an address nobody else says which file is meant."
            yield Fault(("models", name, "sha256"), message, hint)


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
    """Services whose model, or draft, looks like the name of a declared one, and is none."""
    for name, service in view.services.items():
        for key, word in (("model", service.model), ("draft", service.draft)):
            if word and "." not in word and "/" not in word and word not in view.models:
                yield name, key, word


def _unused(view: Sound) -> Iterator[Fault]:
    used = {each for service in view.services.values() for each in service.every_model}
    used |= {name for _, _, word in _words(view) for name in view.models if did_you_mean(word, [name])}
    if view.services.keys() != view.declared:
        return  # those that were not asked for may use it
    for name in view.models:
        if name not in used:
            hint = f'Let a service say model = "{name}", or leave it out.'
            yield Fault(("models", name), "no service has it.", hint, at_key=True)


def _places(view: Sound) -> Iterator[Fault]:
    taken = {place(name): name for name in view.models}
    for name, service in view.services.items():
        for key, declared in (("model", service.model), ("draft", service.draft)):
            if declared in taken:
                hint = f'Name that: {key} = "{taken[declared]}"; or give your own file another name.'
                message = f"that is where a release has models.{taken[declared]}."
                yield Fault(("services", name, key), message, hint)


def _drafts(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.draft and not service.model:
            yield Fault(("services", name, "draft"), "drafts for a model, and the service has none.", "Add model.")


RULES = (_digests, _tokens, _misspelt, _unused, _places, _drafts)
