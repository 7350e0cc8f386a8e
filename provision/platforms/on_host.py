"""What supervisord and systemd have in common: a service is a process of the host, and a launcher starts it."""

from __future__ import annotations

from pathlib import Path

from provision.contract.release import Manifest
from provision.errors import UsageError
from provision.manifests import control
from provision.manifests.launcher import launch
from provision.manifests.places import LaneOnTarget
from provision.manifests.programs import Program, program
from provision.manifests.templates import render
from provision.manifests.value import AtStart
from provision.platforms.face import Deployed
from provision.project.schema import Project
from provision.project.service import Lane
from provision.project.target import Target
from provision.release.models import places_of


class OnHost(Deployed):
    """A supervisor of processes.

    Args:
        template: of its manifests.
    """

    def __init__(self, name: str, template: str) -> None:
        super().__init__(name)
        self._template = template

    def files(self, project: Project, target: Target | None, root: Path) -> dict[str, str]:
        """Each service's manifest of the stable lane, its launcher in launch/, and what lets services start others."""
        if target is None:
            raise UsageError("which target?", why="Names, paths and accounts are a target's.")
        places, overrides = LaneOnTarget(project, target, Lane.STABLE, places_of(project, root)), root / "templates"
        found: dict[str, str] = {}
        for name in filter(places.holds, project.services):
            for each in places.copies(name):
                declared = self.manifest(each, name, overrides)
                found[declared["name"]] = declared["text"]
                found[f"launch/{each.program(name)}"] = launch(each, name, overrides)
        return dict(sorted({**found, **control.files(places, overrides), **self.beside(target, project.name)}.items()))

    def beside(self, target: Target, project: str) -> dict[str, str]:
        """Further files that the host's half writes."""
        return {}

    def manifest(self, places: LaneOnTarget, name: str, overrides: Path | None) -> Manifest:
        facts = program(places, name)
        return Manifest(name=self.file_name(facts), text=render(self._template, overrides, program=facts))

    def file_name(self, facts: Program) -> str:
        """What a program's manifest is called."""
        return facts.name

    def secret_file(self, secret: str) -> tuple[str | AtStart, ...]:
        return AtStart.FILES, f"/{secret}"
