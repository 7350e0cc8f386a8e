"""Rules about values that are made of secrets: where they can stand, and what a program is then given."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault, Path
from provision.project.rules.view import Sound, check_texts, service_texts
from provision.project.schema import Once, Prepare
from provision.project.secret_places import refused
from provision.project.service import Service


def _places(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        for path, text in service_texts(name, service):
            if path[2] != "env":
                yield from (refused(path, part) for part in text.secrets[:1])
    for name, check in view.checks.items():
        for path, text in check_texts(("checks", name), check):
            yield from (refused(path, part) for part in text.secrets[:1])


def _env(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        for variable, text in service.env.items():
            for secret in dict.fromkeys(part.name for part in text.secrets):
                if secret in service.secret_files:
                    message = f"{secret} is among secret_files, which keep it out of the environment."
                    hint = f"Name it in secrets instead, or let the program read the file that {secret}_FILE names."
                    yield Fault(("services", name, "env", variable), message, hint)
        yield from _clashes(("services", name, "env"), service)


def _clashes(path: Path, owner: Service | Prepare | Once) -> Iterator[Fault]:
    """A program that is given a secret has it under its own name, so nothing else can have that name."""
    for variable, text in owner.env.items():
        users = [other for other, value in owner.env.items() if variable in (part.name for part in value.secrets)]
        if users and not text.is_secret(variable) and variable not in owner.secrets:
            message = f"{variable} is the name of a secret that {users[0]} is made of, and this is another value."
            yield Fault((*path, variable), message, "Give this variable another name.")


def _steps(view: Sound) -> Iterator[Fault]:
    for base, step in view.steps():
        yield from _clashes((*base, "env"), step)


RULES = (_places, _env, _steps)
