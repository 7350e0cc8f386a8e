"""What a rule is, what it looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from provision.project.fault import Path
from provision.project.schema import Project
from provision.project.service import Service
from provision.project.suspects import Suspect
from provision.project.target import Target
from provision.project.template import Template

OLDEST_KEY_DAYS = 90
_TRIAL = "sandbox"  # a throwaway host of this machine: no production


class Severity(StrEnum):
    FAIL = "fail"
    WARN = "warn"


@dataclass(frozen=True)
class EnvFile:
    """What is known of `.env` without reading it."""

    name: str
    in_git: bool
    read_by_others: bool
    days_unchanged: float


@dataclass(frozen=True)
class Subject:
    """A project as production sees it.

    Attributes:
        rendered: for each target, the files that its supervisor would be given.
        kubernetes: the files of `deploy render kubernetes`; empty where nothing runs there.
        overrides: the project's own templates, as `templates/PLATFORM/NAME`.
        env_file: None where there is none.
        unsigned: images of promotion.toml that may be promoted without evidence.
        suspects: variables that look like secrets, and are declared as none.
    """

    project: Project
    rendered: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kubernetes: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    env_file: EnvFile | None = None
    suspects: tuple[Suspect, ...] = ()
    unsigned: tuple[str, ...] = ()

    @property
    def targets(self) -> dict[str, Target]:
        """Those that are no sandbox."""
        return {
            name: target
            for name, target in self.project.targets.items()
            if any(host.parts != (_TRIAL,) for host in target.hosts)
        }

    @property
    def serving(self) -> dict[str, Service]:
        """The services that are there all the time."""
        return {
            name: service
            for name, service in self.project.services.items()
            if not service.on_demand and not service.batch
        }


@dataclass(frozen=True)
class Finding:
    """Something that the rule does not allow. `path` is in deploy.toml unless `file` names another."""

    path: Path
    message: str
    file: str = ""


@dataclass(frozen=True)
class Rule:
    """One line of the checklist."""

    id: str
    severity: Severity
    demands: str
    why: str
    fix: str
    judge: Callable[[Subject], Iterator[Finding]]


def written(name: str, service: Service) -> Iterator[tuple[Path, Template]]:
    """Each word of the command (with `args` at its end), each variable, and where it stands."""
    yield from ((("services", name, "command", index), word) for index, word in enumerate(service.command))
    yield from ((("services", name, "env", variable), text) for variable, text in service.env.items())


def literal(text: Template) -> str:
    """What of `text` the file, or a variable, says itself; a place or a secret becomes a blank."""
    return text.resolve(lambda _: " ", lambda _: " ")


def said(service: Service, variable: str) -> str:
    """What a variable of `service` says itself; empty where it says nothing."""
    text = service.env.get(variable)
    return literal(text).strip() if text else ""


def old_keys(subject: Subject, preset: str) -> Iterator[Finding]:
    """That `.env`, which has the keys of a service of `preset`, has not changed for too long."""
    keeps = any(service.preset == preset and service.every_secret for service in subject.project.services.values())
    if keeps and subject.env_file and subject.env_file.days_unchanged > OLDEST_KEY_DAYS:
        days = int(subject.env_file.days_unchanged)
        yield Finding((), f"unchanged for {days} days, and so are the keys in it.", subject.env_file.name)
