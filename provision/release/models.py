"""Model files: shipped by content, once, to a place that releases share, and linked from each release."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from provision.errors import UsageError
from provision.project.models import AtTheHub, Model, in_cache, name_of
from provision.project.schema import Project
from provision.project.service import Service
from provision.release import hashing, model_lock, snapshots
from provision.release.hashing import Hashing
from provision.release.model_file import ModelFile

_Path = TypeVar("_Path", bound=PurePath)

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def find_models(
    services: Mapping[str, Service],
    declared: Mapping[str, Model],
    root: Path,
    on_event: Callable[[Hashing], None] | None,
) -> dict[str, tuple[ModelFile, ...]]:
    """The model files of each declared model; the first of several is the one that a server is told.

    Args:
        declared: those that are declared by where they are, by their place in a release.

    Raises:
        UsageError: a model is missing, not locked, no GGUF file, or two have the same place in a release.
    """
    found: dict[str, tuple[ModelFile, ...]] = {}
    places: dict[str, ModelFile] = {}
    every = ((name, key, each) for name, service in services.items() for key, each in service.models.items())
    for name, key, model in every:
        if model in found:
            continue
        if model in declared:
            found[model] = declared_files(model, declared[model], root)
            continue
        subject = f"services.{name}.{key}"
        first = _source(model, root)
        files = tuple(_model(path, root, subject, on_event) for path in split(first))
        for file in files:
            other = places.setdefault(file.relative, file)
            if other.source != file.source:
                raise UsageError(
                    f"{subject}: {file.source} and {other.source} would both be {file.relative} in the release",
                    next_step="rename one of the files",
                )
        found[model] = files
    return found


def parts(model: str, root: Path) -> list[Path]:
    """The files of a declared model that is shipped; none of them need be there."""
    return split(_source(model, root.resolve()))


def declared_files(place: str, model: Model, root: Path) -> tuple[ModelFile, ...]:
    """The files of a model that is declared by where it is, as it is locked.

    Raises:
        UsageError: it is not locked.
    """
    if model.is_snapshot:
        return snapshots.files(place, model, root)
    path = PurePosixPath(place)
    found = model_lock.locked(name_of(place), model, root)
    count = len(found.files)
    places = _named(path, path.stem, count) if count > 1 else [path]
    return tuple(
        ModelFile.fetched(model, file, str(each), found.architecture, tensor_types=file.tensor_types)
        for each, file in zip(places, found.files, strict=True)
    )


def look_at(model: str, root: Path, subject: str) -> None:
    """Say what stands against shipping a declared model, as far as its headers tell; raises as `find_models` does."""
    for path in parts(model, root):
        hashing.look_at(path, subject)


def is_hosts_own(model: str) -> bool:
    """Whether it is on the host already: an absolute path, with nothing there on this machine."""
    return model.startswith("/") and not os.path.lexists(model)


def places_of(project: Project, root: Path) -> dict[str, str]:
    """By what services declare as their models, what their programs are told; no file need be there, nor a lock."""
    found = {}
    for model in {each for service in project.services.values() for each in service.every_model}:
        if model in project.models and project.models[model].is_snapshot:
            locked = model_lock.read(root).snapshots.get(name_of(model))
            source = project.models[model].source
            found[model] = in_cache(model, source, locked.revision if locked else AtTheHub(source).revision)
        else:
            found[model] = path_in_release(model, root)
    return found


def path_in_release(model: str, root: Path) -> str:
    """Where a release of the project in `root` has what a service declares as its model; the file need not be there."""
    if is_hosts_own(model):
        return model
    root = root.resolve()
    return _relative(_source(model, root), root)


def _source(model: str, root: Path) -> Path:
    """Where the model is, or a link to it; links to folders that the project ships as such are followed."""
    path = Path(os.path.normpath(root / Path(model).expanduser()))
    within = Path(os.path.realpath(path.parent), path.name)
    return within if within.is_relative_to(root) else path


def _relative(path: Path, root: Path) -> str:
    """Where it is, or models/ for one that lies outside the project."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else f"models/{path.name}"


def split(first: _Path) -> list[_Path]:
    """All parts of a split model of which this is one, in order: llama.cpp finds them by their names; else itself."""
    found = _SHARD.fullmatch(first.name)
    return [first] if found is None else _named(first, found["stem"], int(found["count"]))


def _named(beside: _Path, stem: str, count: int) -> list[_Path]:
    return [beside.with_name(f"{stem}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]


def _model(path: Path, root: Path, subject: str, on_event: Callable[[Hashing], None] | None) -> ModelFile:
    known = hashing.hashed(path, subject, on_event)
    file = Path(os.path.realpath(path))
    return ModelFile(
        relative=_relative(path, root),
        behind=file.relative_to(root).as_posix() if file.is_relative_to(root) and file != path else "",
        source=path,
        sha256=known["sha256"],
        bytes=known["bytes"],
        tensor_types=tuple(known["tensor_types"]),
        architecture=known["architecture"],
    )
