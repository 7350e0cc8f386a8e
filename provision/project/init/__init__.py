"""A first `deploy.toml`: `propose` looks at the folder, `text` writes what a person then confirms or changes."""

from __future__ import annotations

import re
from pathlib import Path

from provision.errors import UsageError
from provision.project.init.answers import Answers
from provision.project.init.apps import app
from provision.project.init.packages import packages
from provision.project.init.sources import files, sources
from provision.project.init.text import text
from provision.project.platforms import OF_IMAGES
from provision.project.toml import DECLARATION

__all__ = ["Answers", "propose", "slug", "text", "write"]


def propose(directory: Path) -> Answers:
    """What the files in `directory` suggest."""
    named = packages(directory)
    found = [*sources(directory, named.modules if named else None)]
    models = (path.relative_to(directory).as_posix() for path in files(directory, ".gguf"))
    return Answers(
        name=slug(directory.resolve().name),
        app=app(directory, found, named),
        model=next(models, None),
        worker=next((source for source in found if source.path.stem == "worker"), None),
        packages=named,
    )


def slug(name: str) -> str:
    """`name` as a project may be called: `My_App 2` -> `my-app-2`."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"project-{plain}".strip("-"))[:40].rstrip("-")


def write(directory: Path, answers: Answers) -> Path:
    """Write `deploy.toml` into `directory`.

    Raises:
        UsageError: there is one already, or containers are asked for without an image.
    """
    if (answers.platform in OF_IMAGES) != bool(answers.image):
        raise UsageError(
            f"the platform {' or '.join(OF_IMAGES)} goes with an image, and no other platform does.",
            next_step=f"deploy init --platform {OF_IMAGES[0]} --image ghcr.io/owner/app@sha256:…",
        )
    file = directory / DECLARATION
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text(answers))
    except FileExistsError:
        raise UsageError(f"{file} exists already.", why="It is not overwritten.", next_step="deploy check") from None
    return file
