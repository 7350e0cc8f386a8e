"""What the rules look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from provision.project.checks import Check
from provision.project.fault import Path
from provision.project.models import Model
from provision.project.python import Python
from provision.project.schema import Hooks, Once, Prepare
from provision.project.service import Service
from provision.project.target import Target
from provision.project.template import Template


@dataclass(frozen=True)
class Sound:
    """The sound parts of a declaration.

    Attributes:
        services: those asked for, presets applied.
        declared: the names of all services that the file has, sound or not, asked for or not.
        targets: those asked for.
        checks: the project-wide ones.
    """

    services: Mapping[str, Service]
    declared: frozenset[str]
    targets: Mapping[str, Target]
    checks: Mapping[str, Check]
    prepare: Prepare | None
    python: Python | None
    once: Mapping[str, Once]
    copies: Mapping[str, int]  # on hosts, of services that run more than once
    image: str | None = None  # of every service and target that names none
    hooks: Hooks | None = None
    models: Mapping[str, Model] = field(default_factory=dict)

    def chosen(self, target: Target) -> dict[str, Service]:
        """The services that `target` runs."""
        return {name: service for name, service in self.services.items() if target.runs(name)}

    def steps(self) -> Iterator[tuple[Path, Prepare | Once]]:
        """The commands of a deploy itself, and where they stand."""
        if self.prepare:
            yield ("prepare",), self.prepare
        yield from ((("once", name), once) for name, once in self.once.items())


def service_checks(name: str, service: Service) -> Iterator[tuple[Path, Check]]:
    """Each check of a service, and where it stands."""
    base: Path = ("services", name)
    if service.check:
        yield (*base, "check"), service.check
    for index, check in enumerate(service.checks):
        yield (*base, "checks", index), check
    if service.warm:
        yield (*base, "warm"), service.warm


def check_texts(path: Path, check: Check) -> Iterator[tuple[Path, Template]]:
    """Each text of a check that may hold references."""
    yield from (((*path, *place), text) for place, text in check.texts)


def service_texts(name: str, service: Service) -> Iterator[tuple[Path, Template]]:
    """Each text of a service that may hold references, and where it stands."""
    base: Path = ("services", name)
    for key, texts in {"command": service.command, **service.model_words, "args": service.args}.items():
        for index, text in enumerate(texts):
            yield (*base, key, index), text
    for variable, text in service.env.items():
        yield (*base, "env", variable), text
    for secret, texts in service.secret_args.items():
        for index, text in enumerate(texts):
            yield (*base, "secret_args", secret, index), text
    for path, check in service_checks(name, service):
        yield from check_texts(path, check)
