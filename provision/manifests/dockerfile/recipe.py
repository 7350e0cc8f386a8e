"""What goes into the images of a project: facts for the templates of Dockerfiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from provision.errors import UsageError
from provision.manifests import containers
from provision.manifests.containers import Containers
from provision.manifests.probes import Probe, asks_in_python, probe
from provision.manifests.value import Value
from provision.project.order import start_order
from provision.project.python import Python
from provision.project.schema import Project
from provision.project.service import Lane
from provision.project.target import Target
from provision.release.lock import demanded, indexes, read
from provision.release.pyproject import PyProject

# Where packages are named, the most exact first.
_SOURCES: tuple[tuple[Literal["uv", "requirements", "project"], str], ...] = (
    ("uv", "uv.lock"),
    ("requirements", "requirements.txt"),
    ("project", "pyproject.toml"),
)


# Of Python's images, the likeliest first.
_VERSIONS = ("3.12", "3.13", "3.14", "3.11", "3.10", "3.9")


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
class Locked:
    """What `[python]` says, whose packages are those of deploy.lock."""

    indexes: tuple[tuple[str, Value], ...]  # variables of uv
    secrets: tuple[str, ...]  # more of them, which the build is given and no image keeps
    editable: tuple[str, ...]  # folders that are installed as they are
    local: bool  # whether deploy.lock names such folders, which have no hash


@dataclass(frozen=True)
class Recipe:
    """What a template may use, as `recipe`."""

    project: str
    path: str  # where the project lies in the image
    python: str  # its version
    locked: Locked | None  # None where the project has no [python]
    packages: Literal["uv", "requirements", "project", "none"]  # what names them then: uv.lock, requirements.txt, …
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
        python=version(project.python, root),
        locked=locked(project.python, root),
        packages=packages(root),
        folders=tuple({value.text: value for value in sorted(volumes, key=lambda value: value.text)}.values()),
        stages=tuple(_stage(places, name) for name in names),
        user_id=project.user_id,
    )


def version(python: Python | None, root: Path) -> str:
    """The Python of the image: the one that is declared, else one that the project takes."""
    if python is None or python.source == "host":
        return _VERSIONS[0]
    if python.version:
        return python.version
    try:
        return next(SpecifierSet(demanded(python, root)).filter(_VERSIONS), _VERSIONS[0])
    except InvalidSpecifier:  # as poetry writes them
        return _VERSIONS[0]


def locked(python: Python | None, root: Path) -> Locked | None:
    """How the packages of deploy.lock get into an image."""
    if python is None or python.source == "host":
        return None
    default, others = indexes(python, root)
    named = [("UV_DEFAULT_INDEX", " ".join(default)), ("UV_INDEX", " ".join(others))]
    local = read(python, root).local
    folders = [] if python.project is None else [python.project, *local]
    return Locked(
        indexes=tuple((name, Value(f"python, {name}", (value,))) for name, value in named if value),
        secrets=python.secrets,
        editable=tuple(
            folder if folder == "." else f"./{folder}"
            for folder in dict.fromkeys(folders)
            if PyProject.read(root, folder).is_package
        ),
        local=bool(local),
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
