"""models.lock: what each declared model is, as `deploy model lock` found it: addresses, sizes, digests and types.

A release is made from it, so that nobody needs the model here, and a revision that moves changes nothing by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from provision.errors import UsageError
from provision.project.models import Model

LOCK = "models.lock"


@dataclass(frozen=True)
class LockedFile:
    """A file of a model: where it is, how many bytes it has, and which."""

    url: str
    bytes: int
    sha256: str
    tensor_types: tuple[str, ...]


@dataclass(frozen=True)
class LockedModel:
    """A model as it was found.

    Attributes:
        source: as it was declared then.
        revision: the commit of a repository; empty of an address.
        files: in the order in which they make the model.
        shape: what its memory depends on: the sizes among `bitnet.model.ModelFacts`.
    """

    source: str
    revision: str
    architecture: str
    files: tuple[LockedFile, ...]
    shape: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def read(root: Path) -> dict[str, LockedModel]:
    """By name, what the lock says; nothing where there is none.

    Raises:
        UsageError: nobody who writes locks has written it.
    """
    try:
        said = json.loads((root / LOCK).read_text(encoding="utf-8"))
        return {name: _model(model) for name, model in said["models"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{LOCK} can't be read.", why=f"{type(error).__name__}: {error}.", next_step="deploy model lock"
        ) from None


def write(root: Path, models: Mapping[str, LockedModel]) -> None:
    """Write it anew."""
    said = {"models": {name: asdict(models[name]) for name in sorted(models)}}
    (root / LOCK).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def locked(name: str, model: Model, root: Path) -> LockedModel:
    """What the lock says of a declared model.

    Raises:
        UsageError: it says nothing of it, or of another source or digest than is declared.
    """
    found = read(root).get(name)
    if found is None:
        why = f"{LOCK} does not say which files it is."
    elif found.source != model.source:
        why = f"{LOCK} knows it from {found.source}."
    elif model.sha256 and [file.sha256 for file in found.files] != [model.sha256]:
        why = f"{LOCK} has another digest than deploy.toml."
    else:
        return found
    raise UsageError(f"models.{name} is not locked.", why=why, next_step=f"deploy model lock {name}")


def _model(said: Mapping[str, Any]) -> LockedModel:
    files = (
        LockedFile(str(file["url"]), int(file["bytes"]), str(file["sha256"]), tuple(map(str, file["tensor_types"])))
        for file in said["files"]
    )
    return LockedModel(
        str(said["source"]), str(said["revision"]), str(said["architecture"]), tuple(files), dict(said["shape"])
    )
