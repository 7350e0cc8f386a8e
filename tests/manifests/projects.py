"""Projects to render, and a lane of one put where a host has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provision.contract.release import LaneDocument, ServiceDocument
from provision.manifests import render_lanes
from provision.project.schema import Project
from provision.project.service import Lane


def project(
    declared: Mapping[str, Any],
    *,
    path: str | Path = "/srv/cres",
    checks: Mapping[str, Any] | None = None,
    **target: Any,
) -> Project:
    """A project `cres` with the services `declared` and one target, `there`."""
    return Project.model_validate(
        {
            "name": "cres",
            "services": declared,
            "checks": checks or {},
            "targets": {"there": {"hosts": ["a"], "path": str(path), **target}},
        }
    )


def lane(declared: Project, which: Lane = Lane.STABLE, **options: Any) -> LaneDocument:
    models = {model: model for service in declared.services.values() for model in service.every_model}
    return render_lanes(declared, declared.targets["there"], models=models, **options)[which]


def service(declared: Project, name: str, which: Lane = Lane.STABLE, **options: Any) -> ServiceDocument:
    return next(entry for entry in lane(declared, which, **options)["services"] if entry["name"] == name)


def install(document: ServiceDocument, path: Path) -> Path:
    """Put a service's launcher and an empty release below `path`, as the host's part does; the launcher's place."""
    launches = path / ".deploy" / "run" / document["program"]
    (launches / "one").mkdir(parents=True)
    release = path / "releases" / "id"
    release.mkdir(parents=True, exist_ok=True)
    (path / "shared" / "logs").mkdir(parents=True, exist_ok=True)
    (launches / "one" / "release").symlink_to(release)
    (launches / "current").symlink_to("one")
    launcher = launches / "current" / "launch"
    launcher.write_bytes(document["launch"].encode())
    launcher.chmod(0o700)
    return launcher


def dollars_doubled(text: str) -> str:
    """As a value stands in deploy.toml, where `$$` writes one `$`."""
    return text.replace("$", "$$")
