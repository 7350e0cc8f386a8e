"""A host's own Docker Engine: a container for each service. Containers share one namespace on an engine."""

from __future__ import annotations

import json
from pathlib import Path

from provision.contract.layout import OF_HOST
from provision.contract.release import Manifest
from provision.contract.slots import KEEPER, TRAFFIC
from provision.errors import UsageError
from provision.manifests import engine, engine_ours
from provision.manifests.places import LaneOnTarget
from provision.platforms.face import Deployed
from provision.project.schema import Project
from provision.project.target import Target


class Docker(Deployed):
    """An engine, through its own program where a person watches or types."""

    def files(self, project: Project, target: Target | None, root: Path) -> dict[str, str]:
        raise UsageError("an engine reads no files", next_step="deploy render compose")

    def manifest(self, places: LaneOnTarget, name: str, overrides: Path | None) -> Manifest:
        if places.target.traffic and name in (TRAFFIC, KEEPER):
            return engine_ours.manifest(places, name)
        return engine.manifest(places, name)

    def follow(self, target: Target, program: str, lines: int | None) -> list[str]:
        since = ["--since", "@SINCE@"] if lines is None else ["--tail", str(lines)]
        # One that is not there yet, or not any more, is no line of a log; what it writes to its error stream is.
        shown = 'docker inspect "$1" >/dev/null 2>&1 && exec docker logs --follow "$2" "$3" "$1" 2>&1'
        return ["sh", "-c", shown, "sh", program, *since]

    def inside(self, target: Target, program: str, *, terminal: bool = False) -> list[str]:
        return [*target.as_root, "docker", "exec", *(["-it"] if terminal else []), program]

    def image(self, manifest: str) -> str:
        image = str(json.loads(manifest)["Image"])
        return image if image != OF_HOST else ""


FACE = Docker("docker")
