"""A host's own Docker Engine: a container for each service. Containers share one namespace on an engine."""

from __future__ import annotations

import json
from pathlib import Path

from provision.contract.release import Manifest
from provision.errors import UsageError
from provision.manifests import engine
from provision.manifests.places import LaneOnTarget
from provision.platforms.face import Deployed
from provision.project.schema import Project, Target


class Docker(Deployed):
    """An engine, through its own program where a person watches or types."""

    def files(self, project: Project, target: Target | None, root: Path) -> dict[str, str]:
        raise UsageError("an engine reads no files", next_step="deploy render compose")

    def manifest(self, places: LaneOnTarget, name: str, overrides: Path | None) -> Manifest:
        return engine.manifest(places, name)

    def follow(self, target: Target, program: str, lines: int | None) -> list[str]:
        since = ["--since", "@SINCE@"] if lines is None else ["--tail", str(lines)]
        # One that is not there yet, or not any more, is no line of a log; what it writes to its error stream is.
        shown = 'docker inspect "$1" >/dev/null 2>&1 && exec docker logs --follow "$2" "$3" "$1" 2>&1'
        return ["sh", "-c", shown, "sh", program, *since]

    def inside(self, target: Target, program: str, *, terminal: bool = False) -> list[str]:
        return [*target.as_root, "docker", "exec", *(["-it"] if terminal else []), program]

    def image(self, manifest: str) -> str:
        return str(json.loads(manifest)["Image"])


FACE = Docker("docker")
