"""A whole project for Kubernetes: a folder of files that kubectl and kustomize read.

base/                 what the channels share: the namespace, the account, and that nothing is reached by default
stable/               a file a service
overlays/production/  base and stable in the namespace NAME, and what a Gateway is told where the target names one
overlays/canary/      a file a service in the same namespace; by names and selectors neither takes the other's pods
overlays/staging/     base and stable in NAME-staging, with one copy of each service
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provision.manifests.containers import Containers, containers
from provision.manifests.kubernetes.faults import check
from provision.manifests.kubernetes.pods import Granted
from provision.manifests.kubernetes.sound import are_sound
from provision.manifests.kubernetes.workload import Workload, workload
from provision.manifests.templates import render
from provision.project.order import start_order
from provision.project.schema import Project
from provision.project.service import Lane
from provision.project.target import Target

if TYPE_CHECKING:
    from provision.manifests.fetched import Locked

FOLDERS = {Lane.STABLE: "stable", Lane.CANARY: "overlays/canary"}  # of the services' files


@dataclass(frozen=True)
class Bundle:
    """What a template beside the services may use, as `bundle`."""

    project: str
    namespace: str
    lane: str  # of a channel; empty elsewhere
    files: tuple[str, ...]  # of a channel
    several: tuple[str, ...] = ()  # Deployments with more than one copy
    scaled: tuple[str, ...] = ()  # those whose copies an autoscaler counts
    privileged: bool = False  # whether a pod is given a Docker Engine of its node
    routes: tuple[str, ...] = ()  # files for a Gateway, of production alone: two places can't have the same names


def render_kubernetes(
    project: Project,
    target: Target | None = None,
    overrides: Path | None = None,
    locked: Mapping[str, Locked] | None = None,
) -> dict[str, str]:
    """The files by their paths, in order. Pure but for reading templates; the same input gives the same bytes.

    Args:
        target: only the services that it runs; all of the project's otherwise.
        overrides: a folder whose templates replace ours.
        locked: models that pods fetch, by their places; the others are in images.

    Raises:
        UnencodableValue: a value cannot be held or means nothing in a container, or an image is missing.
        DeclarationError: a template is wrong; says where.
        UsageError: what was rendered is nothing that a cluster would take.
    """
    lanes = {lane: _workloads(containers(project, "kubernetes", lane, target, locked)) for lane in FOLDERS}
    files = dict(sorted(_files(project, lanes, overrides)))
    are_ours = overrides is None or not (overrides / "kubernetes").is_dir()
    everything = [facts for each in lanes.values() for facts in each]
    if not (are_ours and are_sound(everything, (project.name, _staging(project)))):
        granted = Granted(
            frozenset(claim.name for facts in everything for claim in facts.claims if claim.is_there),
            frozenset(facts.engine.socket for facts in everything if facts.engine),
        )
        check(files, granted)
    return files


def _workloads(places: Containers) -> list[Workload]:
    return [workload(places, name) for name in start_order(places.project.services) if places.holds(name)]


def _staging(project: Project) -> str:
    return f"{project.name}-staging"


def _files(project: Project, lanes: Mapping[Lane, list[Workload]], overrides: Path | None) -> Iterator[tuple[str, str]]:
    for lane, folder in FOLDERS.items():
        for facts in lanes[lane]:
            yield f"{folder}/{facts.service}.yaml", render("kubernetes/workload.yaml.j2", overrides, workload=facts)
        files = tuple(sorted(f"{facts.service}.yaml" for facts in lanes[lane]))
        bundle = Bundle(project.name, project.name, lane, files)
        template = "canary" if lane is Lane.CANARY else "channel"
        yield (
            f"{folder}/kustomization.yaml",
            render(f"kubernetes/{template}.kustomization.yaml.j2", overrides, bundle=bundle),
        )
    stable = sorted(lanes[Lane.STABLE], key=lambda facts: facts.name)
    several = tuple(facts.name for facts in stable if facts.replicas > 1 and not facts.scale)
    scaled = tuple(facts.name for facts in stable if facts.scale)
    privileged = any(facts.engine for each in lanes.values() for facts in each)
    routes = {f"{facts.service}-route.yaml": facts for facts in stable if facts.route}
    for file, facts in routes.items():
        yield f"overlays/production/{file}", render("kubernetes/http-route.yaml.j2", overrides, workload=facts)
    for path, template, namespace in (
        ("base/kustomization.yaml", "base.kustomization", project.name),
        ("base/project.yaml", "base", project.name),
        ("overlays/production/kustomization.yaml", "production.kustomization", project.name),
        ("overlays/staging/kustomization.yaml", "staging.kustomization", _staging(project)),
    ):
        bundle = Bundle(project.name, namespace, "", (), several, scaled, privileged=privileged, routes=tuple(routes))
        yield path, render(f"kubernetes/{template}.yaml.j2", overrides, bundle=bundle)
