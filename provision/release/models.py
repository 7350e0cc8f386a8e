"""Model files: shipped by content, once, to a place that releases share, and linked from each release."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from provision.errors import UsageError
from provision.project.models import AtTheHub, Model, in_cache
from provision.project.schema import Project, Service
from provision.release import cache, model_lock

if TYPE_CHECKING:
    from bitnet.model import ModelFacts, PartFacts, Serving

_Path = TypeVar("_Path", bound=PurePath)

_CHUNK = 8 << 20
ON_GPUS = ("-ngl", "--gpu-layers", "--n-gpu-layers")
_DRAFT_ON_GPUS = ("-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft", "--spec-draft-ngl")
_ALL_LAYERS = 1 << 20
# What puts tensors elsewhere than their layers (llama-server --help).
_MOVE_EXPERTS = ("-cmoe", "--cpu-moe", "-ncmoe", "--n-cpu-moe", "-ot", "--override-tensor", "-ts", "--tensor-split")
_PICTURE = 256 << 20  # bytes: what a picture of a million pixels takes while it is looked at
_LEAST_CONTEXT = 4096  # tokens (llama-server --help, --fit-ctx)
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True)
class Hashing:
    """An event: how much of a model has been read."""

    path: Path
    done: int
    total: int


@dataclass(frozen=True)
class ModelFile:
    """One model, or one part of a model that is split into several files."""

    relative: str  # where a release has it
    source: Path | None  # where it lies on this machine, if it does
    sha256: str
    bytes: int
    tensor_types: tuple[str, ...]
    architecture: str
    behind: str = ""  # where the file itself lies in the project, if what is declared is a link to it
    url: str = ""  # where it is fetched from
    token: str = ""  # the variable of what is shown there
    relayed: bool = False  # whether it comes to hosts by way of this machine
    limit: int = 0  # bytes a second that a host takes for it; 0 for no limit
    folder: str = ""  # of a snapshot's: where a release has all of it, which is what a program is told

    @property
    def told(self) -> str:
        """What a program is told, where this is the first of its model's files."""
        return self.folder or self.relative

    @property
    def fetched_from(self) -> str:
        """Who has it, as plans say it; empty of one that lies here."""
        parts = urlsplit(self.url)
        return f"s3://{parts.netloc}" if parts.scheme == "s3" else parts.netloc

    @property
    def places(self) -> tuple[str, ...]:
        """Where a release has a link to the model's content."""
        return (self.relative, self.behind) if self.behind else (self.relative,)

    def link(self, path: str) -> str:
        """The target of the link at `path` in a release, which lies two folders below the project's: releases/ID/."""
        up = "../" * (path.count("/") + 2)
        return f"{up}shared/models/sha256-{self.sha256}/{Path(self.relative).name}"


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
        from provision.release import snapshots  # of who has one alone

        return snapshots.files(place, model, root)
    path = PurePosixPath(place)
    found = model_lock.locked(path.stem, model, root)
    count = len(found.files)
    places = _named(path, path.stem, count) if count > 1 else [path]
    return tuple(
        ModelFile(
            relative=str(each),
            source=None,
            sha256=file.sha256,
            bytes=file.bytes,
            tensor_types=file.tensor_types,
            architecture=found.architecture,
            url=file.url,
            token=model.token or "",
            relayed=model.fetch == "ship",
            limit=(model.limit or 0) // 8,
        )
        for each, file in zip(places, found.files, strict=True)
    )


@dataclass(frozen=True)
class Needed:
    """What a service needs for its model, as far as its command and the model's header tell."""

    memory: int  # bytes; 0 where that is declared, or not known here
    vram: int  # on each of its GPUs


def needed(services: Mapping[str, Service], declared: Mapping[str, Model], root: Path) -> dict[str, Needed]:
    """By service, what declared models need, where the service itself does not say.

    Raises:
        UsageError: a model is not locked.
    """
    found: dict[str, Needed] = {}
    for name, service in services.items():
        if service.model is None or service.model not in declared or service.resources.memory:
            continue
        if declared[service.model].is_snapshot:
            found |= {name: asked} if (asked := _of_snapshot(service, declared[service.model], root)) else {}
            continue
        layers, has_gpus = gpu_layers(service), service.resources.devices > 0
        if layers is None or (layers > 0) is not has_gpus or service.resources.vram:
            continue  # how much of it is in main memory depends on the host
        from bitnet.model import memory_needed, vram_needed  # brings numpy

        facts = locked_facts(stem(service.model), declared[service.model], root)
        served = serving(service, facts)
        vram = vram_needed(facts, served, layers)
        in_memory = memory_needed(facts, served, layers if vram else 0)
        if (drafts := facts_of(service.draft, declared, root)) is not None:
            of_draft = draft_needed(service, drafts, on_gpus=vram > 0)
            vram, in_memory = vram + of_draft.vram, in_memory + of_draft.memory
        if (sees := facts_of(service.mmproj, declared, root)) is not None:
            of_projector = projector_needed(service, sees, on_gpus=vram > 0)
            vram, in_memory = vram + of_projector.vram, in_memory + of_projector.memory
        found[name] = Needed(in_memory, vram // max(1, service.resources.devices))
    return found


def _of_snapshot(service: Service, model: Model, root: Path) -> Needed | None:
    from provision.release import snapshots

    if service.resources.vram:
        return None
    return snapshots.needed(service, model_lock.locked_snapshot(stem(service.model or ""), model, root).shape)


def facts_of(model: str | None, declared: Mapping[str, Model], root: Path) -> ModelFacts | None:
    """What a service's model or draft is made of; None where there is none, it is no GGUF, or can't be read here.

    Raises:
        UsageError: it is declared by where it is, and not locked.
    """
    if not model or (model in declared and declared[model].is_snapshot):
        return None
    if model in declared:
        return locked_facts(stem(model), declared[model], root)
    from bitnet.model import ModelUnusable, read_model  # brings numpy

    try:
        return read_model(root / Path(model).expanduser())
    except (ModelUnusable, OSError):
        return None


def draft_needed(service: Service, drafts: ModelFacts, on_gpus: bool) -> Needed:
    """What its draft model needs besides, with a context as long.

    Args:
        on_gpus: whether the service uses them; all layers are there then, where its command does not say how many.
    """
    from bitnet.model import memory_needed, vram_needed  # brings numpy

    served = replace(serving(service, drafts), keys="f16", values="f16")
    layers = gpu_layers(service, _DRAFT_ON_GPUS, _ALL_LAYERS) if on_gpus else 0
    vram = vram_needed(drafts, served, _ALL_LAYERS if layers is None else layers)
    return Needed(memory_needed(drafts, served, layers or 0 if vram else 0), vram)


def projector_needed(service: Service, sees: ModelFacts, on_gpus: bool) -> Needed:
    """What its projector needs besides: its weights, and what one picture is computed with.

    Args:
        on_gpus: whether the service uses them; the projector is there too then, unless its command says otherwise.
    """
    whole = sees.size + _PICTURE
    there = on_gpus and not {"--no-mmproj-offload"} & set(words(service))
    return Needed(0 if there else whole, whole if there else 0)


def gpu_layers(service: Service, options: Sequence[str] = ON_GPUS, unsaid: int = 0) -> int | None:
    """How many layers its command puts on GPUs; None where that depends on the host."""
    said = words(service)
    if any(word.partition("=")[0] in _MOVE_EXPERTS for word in said):
        return None
    layers = unsaid
    for word, following in zip(said, [*said[1:], ""], strict=True):
        option, _, value = word.partition("=")
        if option in options:
            number = value or following
            if number != "all" and not number.isdecimal():
                return None
            layers = _ALL_LAYERS if number == "all" else int(number[:6])
    return layers


def words(service: Service) -> list[str]:
    """Those of its command, as far as they are known here; what only a host knows is left out."""
    return ["".join(part for part in word.parts if isinstance(part, str)) for word in service.command]


def serving(service: Service, facts: ModelFacts) -> Serving:
    """How its command serves a model, with the least context where it says none."""
    from bitnet.model import Serving

    said = Serving.told(words(service))
    if said.context:
        return said
    return replace(said, context=min(facts.context_length, _LEAST_CONTEXT))  # llama-server takes what there is room for


def locked_facts(name: str, model: Model, root: Path) -> ModelFacts:
    """What a model that hosts fetch is made of, as its lock says.

    Raises:
        UsageError: it is not locked.
    """
    from bitnet.model import ModelFacts

    locked = model_lock.locked(name, model, root)
    return ModelFacts(
        Path(name), name="", architecture=locked.architecture, chat_template=False, **asdict(locked.shape)
    )


def stem(place: str) -> str:
    """The name of a model that is declared by where it is, by its place in a release."""
    return PurePosixPath(place).stem


def look_at(model: str, root: Path, subject: str) -> None:
    """Say what stands against shipping a declared model, as far as its headers tell; raises as `find_models` does."""
    for path in parts(model, root):
        with _explained(path, subject):
            if cache.recall(path) is None:
                with path.open("rb"):
                    _header(path, subject)


def is_hosts_own(model: str) -> bool:
    """Whether it is on the host already: an absolute path, with nothing there on this machine."""
    return model.startswith("/") and not os.path.lexists(model)


def places_of(project: Project, root: Path) -> dict[str, str]:
    """By what services declare as their models, what their programs are told; no file need be there, nor a lock."""
    found = {}
    for model in {each for service in project.services.values() for each in service.every_model}:
        if model in project.models and project.models[model].is_snapshot:
            locked = model_lock.read(root).snapshots.get(stem(model))
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
    with _explained(path, subject):
        known = cache.recall(path)
        if known is None:
            known = _read(path, subject, on_event)
        relative, file = _relative(path, root), Path(os.path.realpath(path))
        return ModelFile(
            relative=relative,
            behind=file.relative_to(root).as_posix() if file.is_relative_to(root) and file != path else "",
            source=path,
            sha256=known["sha256"],
            bytes=known["bytes"],
            tensor_types=tuple(known["tensor_types"]),
            architecture=known["architecture"],
        )


@contextmanager
def _explained(path: Path, subject: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        what = f"{path} is a link to {path.readlink()}, which" if path.is_symlink() else path
        raise UsageError(
            f"{subject}: {what} does not exist",
            next_step=f"put it there; a small one to try with: {shlex.join(['deploy', 'native', 'model', str(path)])}",
        ) from None
    except OSError as error:
        raise UsageError(f"{subject}: {path} cannot be read", why=error.strerror or str(error)) from None


def _read(path: Path, subject: str, on_event: Callable[[Hashing], None] | None) -> dict[str, Any]:
    digest = hashlib.sha256()
    done = 0
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        part = _header(path, subject)
        while block := file.read(_CHUNK):
            digest.update(block)
            done += len(block)
            if on_event:
                on_event(Hashing(path, done, status.st_size))
    facts = {**asdict(part), "sha256": digest.hexdigest(), "bytes": done}
    cache.remember(path, status, facts)
    return facts


def _header(path: Path, subject: str) -> PartFacts:
    from bitnet.model import ModelUnusable, read_part  # brings numpy, and is needed once a model

    try:
        return read_part(path)
    except ModelUnusable as error:
        raise UsageError(f"{subject}: {error.what}", why=f"{error.why}.", next_step=error.next_step) from None
