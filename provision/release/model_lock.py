"""models.lock: what each declared model is, as `deploy model lock` found it: addresses, sizes, digests and types.

A release is made from it, so that nobody needs the model here, and a revision that moves changes nothing by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from provision.errors import UsageError
from provision.project.models import Model, locked_address

LOCK = "models.lock"
Size = Annotated[int, Field(ge=0, lt=1 << 53)]  # what every reader of JSON can tell apart


@dataclass(frozen=True)
class Shape:
    """What a model's memory depends on: the sizes among `bitnet.model.ModelFacts`."""

    size: Size
    tensor_types: dict[str, Size]
    layer_bytes: tuple[Size, ...]
    other_bytes: Size
    context_length: Size
    embedding_length: Size
    vocabulary: Size
    feed_forward: Size
    heads: Size
    kv_per_token: tuple[Size, ...]


@dataclass(frozen=True)
class LockedFile:
    """A file of a model: where it is, how many bytes it has, and which."""

    url: Annotated[str, AfterValidator(locked_address)]
    bytes: Annotated[Size, Field(gt=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    tensor_types: tuple[str, ...]


@dataclass(frozen=True)
class LockedModel:
    """A model as it was found.

    Attributes:
        source: as it was declared then.
        revision: the commit of a repository; empty of an address.
        files: in the order in which they make the model.
    """

    source: str
    revision: str
    architecture: str
    files: Annotated[tuple[LockedFile, ...], Field(min_length=1)]
    shape: Shape

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def read(root: Path) -> dict[str, LockedModel]:
    """By name, what the lock says; nothing where there is none.

    Raises:
        UsageError: nobody who writes locks has written it.
    """
    try:
        said = TypeAdapter(dict[str, dict[str, LockedModel]]).validate_json((root / LOCK).read_bytes(), strict=True)
        return said["models"]
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        first = error.errors()[0]
        said_of = ".".join(map(str, first["loc"]))
        why = f"{said_of}: {first['msg'].rstrip('.')}" if said_of else first["msg"]
    except KeyError as error:
        why = f"it has no {error}"
    except OSError as error:
        why = str(error.strerror)
    raise UsageError(f"{LOCK}: it can't be read.", why=f"{why}.", next_step=f"remove {LOCK}, then: deploy model lock")


def write(root: Path, models: Mapping[str, LockedModel]) -> None:
    """Write it anew, whole at any moment.

    Raises:
        UsageError: it can't be written.
    """
    said = {"models": {name: asdict(models[name]) for name in sorted(models)}}
    draft = root / f".{LOCK}.new"
    try:
        draft.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        draft.replace(root / LOCK)
    except OSError as error:
        raise UsageError(f"{LOCK}: it can't be written.", why=f"{error.strerror}.") from None


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
    raise UsageError(f"models.{name}: it is not locked.", why=why, next_step=f"deploy model lock {name}")
