"""models.lock: what each declared model is, as `deploy model lock` found it: addresses, sizes, digests and types.

A release is made from it, so that nobody needs the model here, and a revision that moves changes nothing by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from provision.errors import UsageError
from provision.project.models import Model, address, locked_address

LOCK = "models.lock"
LONGEST = 200  # bytes of a file's path in its repository: below releases/ID/models/NAME/hub/… there is PATH_MAX
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


def _within(path: str) -> str:
    """That of a file in its repository, which leads nowhere else, and is one line of a terminal."""
    if not path.isprintable() or {"", ".", ".."} & set(path.split("/")) or len(path.encode()) > LONGEST:
        raise ValueError("it names no file of a repository")
    return path


@dataclass(frozen=True)
class SnapshotFile:
    """A file of a repository: what it is called there, where it is, how many bytes it has, and which."""

    path: Annotated[str, AfterValidator(_within)]
    url: Annotated[str, AfterValidator(lambda text: address(text, ""))]
    bytes: Size
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class SnapshotShape:
    """What a server of safetensors needs memory for.

    Attributes:
        parameters: by the type that they are kept as.
        layers: that keep something of every token.
        windowed: that keep it of the last `window` tokens alone.
        kv_per_layer: values that one of them keeps of a token.
    """

    parameters: dict[str, Size]
    weights: Size  # bytes of them all
    layers: Size
    windowed: Size
    window: Size
    kv_per_layer: Size
    context_length: Size


@dataclass(frozen=True)
class LockedSnapshot:
    """A whole repository, as it was found.

    Attributes:
        allow: the patterns by which `files` were chosen; `ignore` likewise.
    """

    source: str
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    architecture: str
    allow: tuple[str, ...]
    ignore: tuple[str, ...]
    files: Annotated[tuple[SnapshotFile, ...], Field(min_length=1)]
    shape: SnapshotShape

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Lock:
    """All that models.lock says, by name."""

    models: dict[str, LockedModel]
    snapshots: dict[str, LockedSnapshot] = field(default_factory=dict)

    @property
    def entries(self) -> dict[str, LockedModel | LockedSnapshot]:
        return {**self.models, **self.snapshots}


def read(root: Path) -> Lock:
    """What the lock says; nothing where there is none.

    Raises:
        UsageError: nobody who writes locks has written it.
    """
    try:
        return TypeAdapter(Lock).validate_json((root / LOCK).read_bytes(), strict=True)
    except FileNotFoundError:
        return Lock({})
    except ValidationError as error:
        first = error.errors()[0]
        said_of = ".".join(map(str, first["loc"]))
        why = f"{said_of}: {first['msg'].rstrip('.')}" if said_of else first["msg"]
    except OSError as error:
        why = str(error.strerror)
    raise UsageError(f"{LOCK}: it can't be read.", why=f"{why}.", next_step=f"remove {LOCK}, then: deploy model lock")


def write(root: Path, found: Mapping[str, LockedModel | LockedSnapshot]) -> None:
    """Write it anew, whole at any moment.

    Raises:
        UsageError: it can't be written.
    """
    kinds = {"models": LockedModel, "snapshots": LockedSnapshot}
    said = {
        key: {name: asdict(each) for name, each in sorted(found.items()) if isinstance(each, kind)}
        for key, kind in kinds.items()
    }
    if not said["snapshots"]:
        del said["snapshots"]  # which earlier versions don't know
    draft = root / f".{LOCK}.new"
    try:
        draft.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        draft.replace(root / LOCK)
    except OSError as error:
        raise UsageError(f"{LOCK}: it can't be written.", why=f"{error.strerror}.") from None


def locked(name: str, model: Model, root: Path) -> LockedModel:
    """What the lock says of a declared model of GGUF files.

    Raises:
        UsageError: it says nothing of it, or of another source or digest than is declared.
    """
    found = read(root).models.get(name)
    if found is None:
        why = f"{LOCK} does not say which files it is."
    elif found.source != model.source:
        why = f"{LOCK} knows it from {found.source}."
    elif model.sha256 and [file.sha256 for file in found.files] != [model.sha256]:
        why = f"{LOCK} has another digest than deploy.toml."
    else:
        return found
    raise _unlocked(name, why)


def locked_snapshot(name: str, model: Model, root: Path) -> LockedSnapshot:
    """What the lock says of a declared snapshot. Raises as `locked`."""
    found = read(root).snapshots.get(name)
    if found is None:
        why = f"{LOCK} does not say which files it is."
    elif found.source != model.source:
        why = f"{LOCK} knows it from {found.source}."
    elif (found.allow, found.ignore) != (model.allow, model.ignore):
        why = f"{LOCK} was made by other patterns, allow or ignore."
    else:
        return found
    raise _unlocked(name, why)


def _unlocked(name: str, why: str) -> UsageError:
    return UsageError(f"models.{name}: it is not locked.", why=why, next_step=f"deploy model lock {name}")
