"""What a supervisor on a host reads, as files to look at: those of the stable lane, as `deploy up` puts them there."""

from __future__ import annotations

from pathlib import Path

from provision.agent.grouping import target_unit
from provision.errors import UsageError
from provision.manifests import control
from provision.manifests.launcher import launch
from provision.manifests.places import Places
from provision.manifests.programs import group, manifest
from provision.project.schema import Lane, Platform, Project, Target
from provision.release.models import place


def files(project: Project, target: Target | None, root: Path) -> dict[str, str]:
    """Each service's manifest, its launcher in launch/, systemd's target of all, and what lets services start others.

    See `provision.manifests.platforms.Render`.
    """
    if target is None:
        raise UsageError("which target?", why="Names, paths and accounts are a target's.")
    models = {each.model: place(each.model, root) for each in project.services.values() if each.model}
    places, overrides = Places(project, target, Lane.STABLE, models), root / "templates"
    found: dict[str, str] = {}
    for name in filter(places.holds, project.services):
        declared = manifest(places, name, overrides)
        found[declared["name"]] = declared["text"]
        found[f"launch/{places.program(name)}"] = launch(places, name, overrides)
    found |= control.files(places, overrides)
    if target.platform is Platform.SYSTEMD:
        found[group(places)] = target_unit(group(places), target.user_units)
    return dict(sorted(found.items()))
