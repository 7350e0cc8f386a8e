"""A project as a file for Docker Compose: `stack` gathers the facts, `health` knows how Docker asks a service."""

from pathlib import Path

from provision.manifests.compose.stack import stack
from provision.manifests.fetched import locked
from provision.manifests.templates import render
from provision.project.schema import Project
from provision.project.target import Target

__all__ = ["files"]


def files(project: Project, target: Target | None, root: Path) -> dict[str, str]:
    """What `deploy render compose` writes. See `provision.platforms.face.Face.files`."""
    facts = stack(project, target, locked(project, root))
    return {"compose.yaml": render("compose/compose.yaml.j2", root / "templates", stack=facts)}
