"""What a service is in a container, whatever runs the container: facts that Compose and Kubernetes share.

A container has an address of its own. So a service keeps its declared port in every lane, listens on every address,
and finds the others by name; what says 127.0.0.1 instead is refused here, because it would start and never be reached.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from provision.engines import BUILT
from provision.errors import UnencodableValue, UsageError
from provision.manifests.fetched import Fetch, fetch, told
from provision.manifests.places import LaneOnTarget
from provision.manifests.value import AtStart, Value, Variable
from provision.project.rules.containers import HAND_OVER
from provision.project.schema import Project
from provision.project.service import Lane, Service
from provision.project.target import Target
from provision.project.template import Ref, Template

if TYPE_CHECKING:
    from provision.manifests.fetched import Locked


@dataclass(frozen=True)
class Engine:
    """A Docker Engine that a container is given; so it may do what root may."""

    socket: str  # absolute path
    group: int  # the number of the group that the socket has


# What ${cpus} is where nobody said it, and nobody can count: the cores of a service of medium size.
UNCOUNTED = 4

_LOOPBACK = r"(127\.0\.0\.1|localhost|\[?::1\]?)"
_BEFORE_PORT = re.compile(rf"(^|.*[^\w.]){_LOOPBACK}:$", re.DOTALL)
_LISTENS = re.compile(rf"(--?[\w-]+=)?{_LOOPBACK}(:[0-9]+)?")


@dataclass(frozen=True)
class Containers(LaneOnTarget):
    """One lane of a project as containers: names instead of ports tell copies apart.

    Attributes:
        locked: models that are fetched, by their places; where a model is not among them, its image has it.
    """

    locked: Mapping[str, Locked] = field(default_factory=dict)

    @cached_property
    def called(self) -> Mapping[str, tuple[str, ...]]:
        """By service, those of the lane that it talks to: the ones that it names, and the ones that it waits for."""
        return {name: self._called(name) for name in self.project.services if self.holds(name)}

    @cached_property
    def callers(self) -> Mapping[str, tuple[str, ...]]:
        """By service, those of the lane that talk to it."""
        found: dict[str, list[str]] = {name: [] for name in self.called}
        for name in sorted(self.called):
            for other in self.called[name]:
                found[other].append(name)
        return {name: tuple(callers) for name, callers in found.items()}

    def _called(self, name: str) -> tuple[str, ...]:
        service = self.project.services[name]
        named = {ref.name.split(".")[1] for ref in _refs(service) if ref.name.startswith("services.")}
        return tuple(sorted(other for other in {*named, *service.after} - {name} if self.holds(other)))

    def name(self, service: str) -> str:
        """What others of the lane call a service, and what its objects are called."""
        return service if self.lane is Lane.STABLE else f"{service}-{self.lane}"

    def binary(self, service: Service, subject: str) -> str:
        """What an image brings: a compiled engine in the wheel's place, which is for hosts."""
        return BUILT if service.engine == "wheel" else super().binary(service, subject)

    def _reference(self, ref: Ref, subject: str, owner: str) -> str | AtStart:
        match ref.name.split("."):
            case ["listen"]:
                return "0.0.0.0"  # noqa: S104 (the container's own network; who gets in is the network policy's matter)
            case ["port"]:
                return self._declared_port(owner, ref, subject)
            case ["services", name, "port"]:
                return self._declared_port(name, ref, subject)
            case ["services", name, "host"]:
                return self.name(name)
            case ["cpus"]:
                return str(UNCOUNTED)
        return super()._reference(ref, subject, owner)

    def _declared_port(self, service: str, ref: Ref, subject: str) -> str:
        declared = self.project.services.get(service)
        if declared is None or declared.port is None:
            raise UsageError(f"{subject}: ${{{ref.name}}} asks for a port that is not declared")
        return str(declared.port)


def containers(
    project: Project,
    platform: str,
    lane: Lane,
    target: Target | None = None,
    locked: Mapping[str, Locked] | None = None,
) -> Containers:
    """`project` in containers of `platform`: those services that `target` runs, or all; `locked` as of `Containers`."""
    # No host is part of this, so it is no target that a file could declare.
    place = Target.model_construct(
        platform=platform,
        hosts=(),
        path=f"/srv/{project.name}",
        services=target.services if target else None,
        gateway=target.gateway if target else None,
    )
    # An image has the model where a release would have it.
    models = {model: model for each in project.services.values() for model in each.every_model}
    models |= {declared: told(declared, model) for declared, model in (locked or {}).items()}
    return Containers(project, place, lane, models, locked=locked or {})


def fetched(places: Containers, name: str) -> Fetch | None:
    """What fetches a service's model, where it is in no image."""
    return fetch(places.project, name, places.locked, rendered_image(places.project, name))


def declared_image(project: Project, name: str) -> str | None:
    """The image that the file names for a service."""
    return project.services[name].image or project.image


def rendered_image(project: Project, name: str) -> str:
    """The image of a service in a file for people; of a tag `remarks` says what to write instead."""
    return declared_image(project, name) or f"{project.name}:latest"


def image(places: LaneOnTarget, name: str) -> str:
    """The image of a service, by digest; on hosts perhaps by a tag, which a deploy replaces by what it stands for.

    Raises:
        UnencodableValue: none is declared, or only a tag, which names another image tomorrow.
    """
    declared = places.project.services[name].image or places.target.image or places.project.image
    subject = f"services.{name}.image"
    if declared is None:
        reason = 'a container is made of an image; add image = "ghcr.io/…@sha256:…" to [project], or to the service'
        raise UnencodableValue(subject, reason)
    if "@sha256:" not in declared and not places.target.can.over_ssh:  # which digest a tag is, is told by a deploy
        digest = f"skopeo inspect --format '{{{{.Digest}}}}' docker://{declared}"
        reason = (
            f'"{declared}" has no digest, so it may be another image tomorrow; add the one that this says: {digest}'
        )
        raise UnencodableValue(subject, reason)
    return declared


def command(places: LaneOnTarget, name: str) -> tuple[Value, ...]:
    """The program and its arguments.

    Raises:
        UnencodableValue: it listens where nobody reaches it, or asks the wrong place for another service.
    """
    service, subject = places.project.services[name], f"services.{name}.command"
    for template in service.command:
        _refuse_loopback(template, subject, name)
    words = tuple(places.value(word, subject, name) for word in service.command)
    for template, word in zip(service.command, words, strict=True):
        named = any(ref.name.startswith("services.") for ref in template.refs)  # where one loopback is all tasks'
        if service.port is not None and not named and _LISTENS.fullmatch(word.text):
            reason = f'"{word.text}" is reached from inside the container alone; write ${{listen}} for the address'
            raise UnencodableValue(subject, reason)
    return words


def env(places: LaneOnTarget, name: str) -> tuple[Variable, ...]:
    """The environment but what is made of secrets, with the places of their files, in the order of the names.

    Raises:
        UnencodableValue: a value asks the wrong place for another service.
    """
    declared = places.project.services[name].env
    for variable, template in declared.items():
        _refuse_loopback(template, f"services.{name}.env.{variable}", name)
    variables = [variable for variable in _variables(places, name) if not variable.value.secrets]
    return tuple(sorted((*variables, *places.secret_files(name)), key=lambda variable: variable.name))


def composed(places: LaneOnTarget, name: str) -> tuple[Variable, ...]:
    """The variables that are made of secrets, in the order of their names."""
    return tuple(sorted(filter(lambda each: each.value.secrets, _variables(places, name)), key=lambda each: each.name))


def _variables(places: LaneOnTarget, name: str) -> list[Variable]:
    return [
        Variable(variable, places.value(template, f"services.{name}.env.{variable}", name))
        for variable, template in places.project.services[name].env.items()
    ]


def refuse_docker(places: LaneOnTarget, name: str, place: str, *, is_machine: bool = True) -> None:
    """Refuse what would start containers itself, and was not given an engine.

    Args:
        place: where service `name` runs, for people.
        is_machine: it has a Docker Engine that a service can be given.

    Raises:
        UnencodableValue: the service would.
    """
    service = places.project.services[name]
    if not service.starts_containers or (is_machine and engine(service)):
        return
    consent = f". {HAND_OVER.removesuffix('.')}" if is_machine else ""
    if "RLM_ENVIRONMENT" in service.env:
        reason = f'"docker" needs a Docker daemon, which {place} does not reach; write "wasm" or "local"'
        raise UnencodableValue(f"services.{name}.env.RLM_ENVIRONMENT", f"{reason}{consent}")
    raise UnencodableValue(f"services.{name}.docker", f"{place} reaches no Docker daemon{consent}")


def engine(service: Service) -> Engine | None:
    """The Docker Engine that a container is given, where that was said."""
    if service.docker is None or service.docker_group is None or not service.starts_containers:
        return None
    return Engine(service.docker, service.docker_group)


def _refs(service: Service) -> Iterator[Ref]:
    for template in (*service.command, *service.env.values()):
        yield from template.refs
    for check in (*service.every_check, *([service.warm] if service.warm else [])):
        for _, text in check.texts:
            yield from text.refs


def _refuse_loopback(template: Template, subject: str, name: str) -> None:
    for before, ref in zip(template.parts, template.parts[1:], strict=False):
        if not isinstance(before, str) or not isinstance(ref, Ref) or not _BEFORE_PORT.match(before):
            continue
        other = ref.name.split(".")[1] if ref.name.startswith("services.") else name
        if other != name:
            reason = f"127.0.0.1 is the container itself, and {other} is in another; write ${{services.{other}.host}}"
            raise UnencodableValue(subject, reason)
