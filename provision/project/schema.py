"""What a project declares, typed and frozen.

Models hold what the file says, checked one value at a time; `provision.project.load` reads the file, replaces the
environment, applies presets, judges what spans several keys, and finds the line of each problem. The docstring under
a field is its description in the published JSON Schema.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from provision.project.checks import Check
from provision.project.models import Model
from provision.project.python import Python
from provision.project.section import Section
from provision.project.service import Lane, Service
from provision.project.target import Target
from provision.project.values import (
    LAST_ID,
    BuildFolder,
    Image,
    Name,
    Pattern,
    Seconds,
    String,
    TargetText,
    Variable,
    Whole,
)

# As in most images that are not root's, an account that no package of a distribution has.
USER_ID = 10001


class Prepare(Section):
    """A step that runs in the incoming release, on the host, before it is named."""

    command: tuple[String, ...] = Field(min_length=1)
    """The program and its arguments."""
    inputs: tuple[str, ...] = ()
    """Files whose digest decides whether the last result may be used again."""
    outputs: tuple[str, ...] = ()
    """What it makes, relative to the release; kept in the cache."""
    env: dict[Variable, TargetText] = Field(default_factory=dict)
    """Its environment variables, besides those of the login; `${path}` is the target's folder."""
    secrets: tuple[Variable, ...] = ()
    """Names of variables whose values come from .env or the environment; it is given them, and the host keeps none."""
    timeout: Seconds = 900.0
    """How long it may take."""


class Once(Section):
    """A command that runs once for each release, on the target's first host, before any program changes."""

    command: tuple[String, ...] = Field(min_length=1)
    """The program and its arguments; it runs in the release."""
    undo: tuple[String, ...] = ()
    """What brings back what `command` did, where the deploy fails after all; also where `command` was cut off."""
    env: dict[Variable, TargetText] = Field(default_factory=dict)
    """Environment variables of both, besides those of the login; `${path}` is the target's folder."""
    secrets: tuple[Variable, ...] = ()
    """Names of variables whose values come from .env or the environment; both are given them, and the host keeps none
    of them longer than the deploy."""
    timeout: Seconds = 900.0
    """How long each of both may take."""


class Hooks(Section):
    """Programs of the machine that deploys, around `deploy up`; each is given the event as JSON on standard input."""

    before_up: Annotated[tuple[String, ...], Field(min_length=1)] | None = None
    """Run before anything is built or any host is asked; where it fails, nothing is deployed."""
    after_up: Annotated[tuple[String, ...], Field(min_length=1)] | None = None
    """Run when all hosts have the release; where it fails, that is said and changes nothing."""
    after_failure: Annotated[tuple[String, ...], Field(min_length=1)] | None = None
    """Run when a deploy ended otherwise; where it fails, that is said and changes nothing."""
    timeout: Seconds = 60.0
    """How long each may take."""


class Project(Section):
    """Everything that one `deploy.toml` declares."""

    name: Name
    image: Image | None = None  # of every service that names no other
    build: str | None = None  # the folder that Compose builds it from
    user_id: int = USER_ID  # of who runs in containers
    include: tuple[str, ...] = ()  # shipped although an ignore rule says otherwise
    services: dict[Name, Service] = Field(default_factory=dict)
    targets: dict[Name, Target] = Field(default_factory=dict)
    checks: dict[Name, Check] = Field(default_factory=dict)  # project-wide, after all services are proven
    prepare: Prepare | None = None
    python: Python | None = None
    once: dict[Name, Once] = Field(default_factory=dict)
    hooks: Hooks | None = None
    copies: dict[Name, int] = Field(default_factory=dict)  # on hosts, of services that run more than once
    models: dict[str, Model] = Field(default_factory=dict)  # by their place in a release, which a service's `model` is

    def services_on(self, target: Target) -> dict[str, Service]:
        """Those that run there."""
        return {name: service for name, service in self.services.items() if target.runs(name)}

    def data_on(self, target: Target) -> dict[str, str]:
        """Folders of the release that outlive it there -> the account that writes to each; empty for the login's."""
        found = {path: service.user or "" for service in self.services_on(target).values() for path in service.data}
        return found if target.can.on_host else {}

    def copies_of(self, name: str, lane: Lane) -> int:
        """How many copies of a service run on a host; a canary is one."""
        return self.copies.get(name, 1) if lane is Lane.STABLE else 1


class Head(Section):
    """The project itself."""

    name: Name
    """Names folders, units and programs on the host."""
    image: Image | None = None
    """Docker, Compose, Kubernetes: the image of every service that names no other; deployed by digest alone."""
    build: BuildFolder | None = None
    """Compose: the folder with the Dockerfile that this image is built from, beside compose.yaml, such as "."."""
    user_id: Annotated[Whole, Field(ge=1, le=LAST_ID)] = USER_ID
    """Compose, Kubernetes, Dockerfiles: the number of the account, and of its group, in containers."""
    include: tuple[Pattern, ...] = ()
    """Patterns of files to ship although an ignore rule says otherwise."""


class SecretSource(Section):
    """Where the value of a secret comes from, when neither the environment nor .env has it."""

    command: tuple[String, ...] = Field(min_length=1)
    """A program of this machine and its arguments; what it prints, but one line's end, is the value."""
    timeout: Seconds = 60.0
    """How long it may take."""


class Declaration(Section):
    """The file as it is written; `provision.project.load` makes a `Project` of it."""

    project: Head
    secrets: dict[Variable, SecretSource] = Field(default_factory=dict)
    """Secrets that a command gives, such as one of a password store; asked when their values are needed, each once."""
    services: dict[Name, Service] = Field(default_factory=dict)
    """The programs."""
    targets: dict[Name, Target] = Field(default_factory=dict)
    """The places."""
    checks: dict[Name, Check] = Field(default_factory=dict)
    """What must hold for the whole project, once all services are proven."""
    prepare: Prepare | None = None
    python: Python | None = None
    """The Python environment of all services, and of the Dockerfile."""
    once: dict[Name, Once] = Field(default_factory=dict)
    """What runs once for each release, such as a migration of its database."""
    hooks: Hooks | None = None
    models: dict[Name, Model] = Field(default_factory=dict)
    """Models that hosts fetch from where they are; a service's `model` names one."""
