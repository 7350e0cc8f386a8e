"""A project as what Kubernetes reads: `bundle` puts the files together, `workload` gathers the facts of a service,
`faults` refuses what a strict schema would let through and a cluster would not."""

from pathlib import Path

from provision.manifests.fetched import locked
from provision.manifests.kubernetes.bundle import FOLDERS, render_kubernetes
from provision.project.schema import Project
from provision.project.target import Target

__all__ = ["FOLDERS", "files", "render_kubernetes"]


def files(project: Project, target: Target | None, root: Path) -> dict[str, str]:
    """What `deploy render kubernetes` writes. See `provision.platforms.face.Face.files`."""
    return render_kubernetes(project, target, root / "templates", locked(project, root))
