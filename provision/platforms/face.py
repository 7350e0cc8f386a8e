"""What the toolkit asks of a platform. Answers are pure: no network, no clock; the same input gives the same value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from provision.errors import UsageError
from provision.project.platforms import OVER_SSH

if TYPE_CHECKING:
    from provision.contract.release import Manifest
    from provision.manifests.control import Control
    from provision.manifests.places import LaneOnTarget
    from provision.manifests.remarks import Built, Remark
    from provision.manifests.value import AtStart
    from provision.project.schema import Project
    from provision.project.target import Target

CONTAINER_SECRETS = "/run/secrets"  # where a container has the files of its secrets


class Face(ABC):
    """A platform. What this class itself answers is right wherever a service is a container."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def files(self, project: Project, target: Target | None, root: Path) -> dict[str, str]:
        """What `deploy render` writes: files by their paths, in order. What begins with `#!` is a program.

        Args:
            target: only the services that it runs; never None where files are `rendered_for` a target.
            root: the project's folder; its `templates/` replace ours.

        Raises:
            UnencodableValue: a value cannot be held.
            DeclarationError: a template is wrong; says where.
            UsageError: something that the platform needs is missing.
        """

    def remarks(self, project: Project, target: Target | None, built: Built) -> list[Remark]:
        """What `deploy render` says beside the files."""
        return []

    def program(self, prefix: str, project: str, service: str) -> str:
        """What a copy of a service is called there.

        Args:
            prefix: the target's `name_prefix`.
            service: with its lane where that is not stable, as in `web.canary`.
        """
        return f"{prefix}{project}-{service}"

    def manifest(self, places: LaneOnTarget, name: str, overrides: Path | None) -> Manifest:
        """The file that starts service `name`.

        Raises:
            UnencodableValue: a value cannot be held.
            DeclarationError: a template is wrong; says where.
            UsageError: nothing is deployed there over SSH.
        """
        *others, last = OVER_SSH
        next_step = f"choose {', '.join(others)} or {last}"
        raise UsageError(f"{self.name} has no supervisor on a host", next_step=next_step)

    def secret_file(self, secret: str) -> tuple[str | AtStart, ...]:
        """The path of a secret's file, as the program sees it."""
        return (f"{CONTAINER_SECRETS}/{secret}",)

    def group(self, prefix: str, project: str) -> str:
        """What starts and stops all programs of a project together; empty where there is no such thing."""
        return ""

    def grants(self, control: Control, overrides: Path | None) -> Mapping[str, str]:
        """The files that let accounts start services on demand."""
        return {}

    def restarts(self, prefix: str, project: str) -> str:
        """PromQL: how often the platform started programs anew in 15 minutes; empty where nobody counts them."""
        return ""


class Rendered(Face):
    """A platform that files are written for, and nothing else."""

    def __init__(self, name: str, files: Callable[[Project, Target | None, Path], dict[str, str]]) -> None:
        super().__init__(name)
        self._files = files

    def files(self, project: Project, target: Target | None, root: Path) -> dict[str, str]:
        return self._files(project, target, root)


class RenderedContainers(Rendered):
    """One whose services are containers, made of images that others may have built."""

    def remarks(self, project: Project, target: Target | None, built: Built) -> list[Remark]:
        from provision.manifests.remarks import remarks

        return remarks(self.name, project, target, built)


class Deployed(Face):
    """A platform that `deploy up` brings projects to: a twin of a module in `provision.agent.supervisors`."""

    logs_in_project = False  # whether logs are files of the project's own folder, in which no line has a time

    @abstractmethod
    def manifest(self, places: LaneOnTarget, name: str, overrides: Path | None) -> Manifest: ...

    @abstractmethod
    def follow(self, target: Target, program: str, lines: int | None) -> list[str]:
        """The words that show, on the host and by who may, a program's last lines and those to come.

        Args:
            lines: None for those since the time `@SINCE@`, which is put there on the host, where logs have times.
        """

    def inside(self, target: Target, program: str, *, terminal: bool = False) -> list[str]:
        """The words that, in front of others, run those where the program runs; none where that is the host."""
        return []

    def image(self, manifest: str) -> str:
        """What the host pulls from a registry for a manifest; empty for nothing."""
        return ""
