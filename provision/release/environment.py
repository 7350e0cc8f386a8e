"""The Python environment of a release: what it is called, and what uv is told to make it."""

from __future__ import annotations

from pathlib import Path

from provision.contract.canonical import digest
from provision.contract.release import EnvironmentDocument
from provision.project.python import Python
from provision.project.secrets import Secrets
from provision.release.lock import demanded, indexes, read
from provision.release.pyproject import PyProject, layer


def environment(python: Python | None, root: Path) -> EnvironmentDocument | None:
    """What a host makes and links as `.venv`; None where the project wants none."""
    if python is None or python.source == "host":
        return None
    lock, version = read(python, root), demanded(python, root)
    document: EnvironmentDocument = {
        "id": digest({"requirements": lock.requirements, "python": version}),
        "python": version,
    }
    if python.project is not None:
        projects = [PyProject.read(root, folder) for folder in (python.project, *lock.local)]
        if added := layer(document["id"], projects):
            document["layer"] = added
    return document


def for_uv(python: Python, root: Path, secrets: Secrets) -> dict[str, str]:
    """The variables that uv is given: the project's indexes, and the secrets that it names for that."""
    default, others = indexes(python, root)
    found = {"UV_DEFAULT_INDEX": default[0]} if default else {}
    found |= {"UV_INDEX": " ".join(others)} if others else {}
    return {**found, **{name: str(secrets[name]) for name in python.secrets}}
