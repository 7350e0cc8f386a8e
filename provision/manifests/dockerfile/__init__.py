"""The images of a project's own Python services, as a Dockerfile with a stage for each."""

from pathlib import Path

from provision.manifests.dockerfile.recipe import recipe
from provision.manifests.templates import render
from provision.project.schema import Project
from provision.project.target import Target

__all__ = ["files"]


def files(project: Project, target: Target | None, root: Path) -> dict[str, str]:
    """What `deploy render dockerfile` writes. See `provision.platforms.face.Face.files`."""
    facts, overrides = recipe(project, target, root), root / "templates"
    return {
        "Dockerfile": render("dockerfile/Dockerfile.j2", overrides, recipe=facts),
        # BuildKit takes this one before a .dockerignore, which may be the user's own.
        "Dockerfile.dockerignore": render("dockerfile/dockerignore.j2", overrides, recipe=facts),
    }
