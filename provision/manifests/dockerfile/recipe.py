"""What goes into the images of a project: facts for the templates of Dockerfiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from provision.errors import UsageError
from provision.manifests import containers
from provision.manifests.containers import Containers
from provision.manifests.probes import Probe, asks_in_python, probe
from provision.manifests.value import Value
from provision.project.order import start_order
from provision.project.schema import Lane, Project, Target

# Where packages are named, the most exact first.
_SOURCES: tuple[tuple[Literal["uv", "requirements", "project"], str], ...] = (
    ("uv", "uv.lock"),
    ("requirements", "requirements.txt"),
    ("project", "pyproject.toml"),
)


def packages(root: Path) -> Literal["uv", "requirements", "project", "none"]:
    """What names the packages of the project in `root`."""
    return next((kind for kind, file in _SOURCES if (root / file).is_file()), "none")


@dataclass(frozen=True)
class Stage:
    """A service's own stage."""

    service: str
    command: tuple[Value, ...]
    port: int | None
    probe: Probe | None
    health: tuple[Value, ...]  # the program that asks; empty where there is nothing to ask


@dataclass(frozen=True)
class Recipe:
    """What a template may use, as `recipe`."""

    project: str
    path: str  # where the project lies in the image
    packages: Literal["uv", "requirements", "project", "none"]  # what names them: uv.lock, requirements.txt, …
    folders: tuple[Value, ...]  # that the services write to: the paths of their volumes
    stages: tuple[Stage, ...]  # in the order in which they start
    user_id: int


def recipe(project: Project, target: Target | None, root: Path) -> Recipe:
    """The images of those services that have none of their own and are no native programs.

    Raises:
        UnencodableValue: a value means nothing in a container.
        UsageError: there is no such service.
    """
    places = containers.containers(project, "dockerfile", Lane.STABLE, target)
    names = [
        name
        for name in start_order(project.services)
        if places.holds(name) and not project.services[name].is_native and not project.services[name].image
    ]
    if not names:
        raise UsageError(
            "no service needs an image of the project's own.",
            why="Each has an image in deploy.toml already, or is a native program.",
            next_step="deploy render compose",
        )
    volumes = [
        places.value(volume.path, f"services.{name}.volumes.{key}.path", name)
        for name in names
        for key, volume in project.services[name].volumes.items()
    ]
    return Recipe(
        project=project.name,
        path=places.target.path,
        packages=packages(root),
        folders=tuple({value.text: value for value in sorted(volumes, key=lambda value: value.text)}.values()),
        stages=tuple(_stage(places, name) for name in names),
        user_id=project.user_id,
    )


def _stage(places: Containers, name: str) -> Stage:
    service = places.project.services[name]
    asked, _ = (None, False) if service.batch else probe(places, name)
    return Stage(
        service=name,
        command=containers.command(places, name),
        port=service.port,
        probe=asked,
        health=_health(asked, service.port) if asked else (),
    )


def _health(asked: Probe, port: int | None) -> tuple[Value, ...]:
    """In exec form, and by Python, which these images have."""
    if asked.kind == "exec":
        return asked.command
    return tuple(Value("a health check", (word,)) for word in ("python3", "-c", asks_in_python(asked, port)))
