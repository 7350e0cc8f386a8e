"""Every value of a project that the files of its targets cannot hold, all at once, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from provision.errors import UnencodableValue
from provision.manifests.checks import service_checks
from provision.manifests.launcher import launch
from provision.manifests.places import LaneOnTarget
from provision.manifests.secret_values import secret_refusals
from provision.platforms import face
from provision.project.schema import Project
from provision.project.service import Lane
from provision.project.target import Target
from provision.release.models import places_of


def refusals(
    project: Project, targets: Iterable[Target], root: Path, secrets: Mapping[str, str]
) -> list[UnencodableValue]:
    """What is refused, each value once: the first of each part of a service.

    Args:
        root: the project's folder; its `templates/` replace ours.
        secrets: the values that are known here.

    Raises:
        DeclarationError: a template is wrong; says where.
    """
    found: dict[tuple[str, str], UnencodableValue] = {}
    for target in targets:
        for attempt in _attempts(project, target, root):
            try:
                attempt()
            except UnencodableValue as refusal:
                found.setdefault((refusal.subject, refusal.reason), refusal)
    return [*found.values(), *secret_refusals(project, secrets)]


def _attempts(project: Project, target: Target, root: Path) -> Iterator[Callable[[], object]]:
    """What is written for `target`, part by part, so that one refusal hides no other."""
    if not target.can.over_ssh:
        yield partial(face(target.platform).files, project, target, root)
        return
    models = places_of(project, root)
    for lane in Lane:
        places = LaneOnTarget(project, target, lane, models)
        for name in filter(places.holds, project.services):
            yield partial(launch, places, name, root / "templates")
            yield partial(places.platform.manifest, places, name, root / "templates")
            yield partial(service_checks, places, name, project.services[name])
