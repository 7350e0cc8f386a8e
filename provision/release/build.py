"""From a project's folder to a release: the files, what they are, and the document that a host works from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision import manifests
from provision.contract import devices, tree
from provision.contract.canonical import canonical
from provision.contract.failure import (
    FORMAT,
    FORMAT_OF_BENCH,
    FORMAT_OF_COPIES,
    FORMAT_OF_PEERS,
    FORMAT_OF_SECRETS,
    FORMAT_OF_TRAFFIC,
)
from provision.contract.layout import OF_SECRETS
from provision.contract.names import below
from provision.contract.release import LaneDocument, PrepareDocument, ReleaseDocument, TrafficDocument
from provision.engines import wheel
from provision.errors import UsageError
from provision.project.fronted import is_fronted
from provision.project.schema import Project
from provision.project.service import Lane, Service
from provision.project.target import Target
from provision.release import commands, snapshots
from provision.release.files import read_files
from provision.release.hashing import Hashing
from provision.release.lacking import absent
from provision.release.libraries import Beside
from provision.release.model_file import ModelFile
from provision.release.model_needs import needed
from provision.release.models import find_models, is_hosts_own
from provision.release.read_by import content


@dataclass(frozen=True)
class FileEntry:
    """One file or link that is shipped."""

    path: str  # relative to the project, "/" between its parts
    executable: bool
    size: int
    sha256: str  # empty for a link
    target: str  # empty for a file


@dataclass(frozen=True)
class Release:
    """What one project is, for one target, at one moment."""

    id: str
    document: ReleaseDocument
    tree: str  # digest of the files and of the links to models
    files: tuple[FileEntry, ...]  # what rsync ships; the links to models are in the document
    models: tuple[ModelFile, ...]
    libraries: tuple[Beside, ...]  # binaries that bring their own
    warnings: tuple[str, ...]

    @property
    def paths(self) -> dict[str, str]:
        """All that it has, by path: a digest, or where a link leads."""
        shipped = {file.path: file.sha256 or file.target for file in self.files}
        texts = {path: tree.text(path, text).sha256 for path, text in self.document.get("texts", {}).items()}
        return {**shipped, **self.document["links"], **texts}


def build(
    project: Project, target_name: str, root: Path, *, on_event: Callable[[Hashing], None] | None = None
) -> Release:
    """Read the project's folder and render it for a target. Same content, same release.

    The id is sha256, in hex, of: "release 1", NUL, the tree's digest in hex, NUL, `release.json` in its canonical form
    (sorted keys, no spaces, UTF-8). The tree's digest (`provision.contract.tree`) covers every shipped file's path,
    bytes and executable bit, and every link's path and target, those to models included; the document covers how
    programs are started and by which manifests.

    Raises:
        UsageError: the target is unknown, a file that is needed is missing, or one can't be shipped.
        DeclarationError, UnencodableValue: see `provision.manifests.render_lanes`.
    """
    target = project.targets.get(target_name)
    if target is None:
        raise UsageError(f"there is no target {target_name!r}", why=f"known: {', '.join(project.targets) or 'none'}")
    root = root.resolve()
    here = project.services_on(target)
    shipped = {name: _of_this_machine(target, service) for name, service in here.items()}
    models = find_models(shipped, project.models, root, on_event)
    files, libraries, warnings = read_files(project, target, root, here, models)
    links = {path: model.link(path) for parts in models.values() for model in parts for path in model.places}
    texts = snapshots.texts(project.models, models, root)
    document = _document(project, target, root, files, libraries, models, links)
    if texts:
        document["texts"] = texts
    linked = [tree.Entry(path, executable=False, size=0, sha256="", target=link) for path, link in links.items()]
    written = [tree.text(path, text) for path, text in texts.items()]
    digest = tree.combine([*files.values(), *linked, *written])
    return Release(
        id=tree.release_id(canonical(document), digest),
        document=document,
        tree=digest,
        files=tuple(FileEntry(*entry) for entry in tree.sort(files.values())),
        models=tuple(model for parts in models.values() for model in parts),
        libraries=tuple(libraries),
        warnings=(
            *warnings,
            *(absent(project, here, root) if target.can.on_host else ()),
            *_without_traffic(target, here),
        ),
    )


def _without_traffic(target: Target, here: Mapping[str, Service]) -> Iterator[str]:
    """The services that keep their ports although something stands before the others."""
    for name, service in here.items():
        if target.traffic and service.port is not None and not is_fronted(target, service):
            why = "it is started on demand" if service.on_demand else "no word of its command or env takes ${port}"
            yield f"services.{name} keeps its port, and has no traffic before it: {why}"


def _on_host(target: Target, model: str | None) -> bool:
    """Whether a model is on the host already."""
    return target.can.on_host and model is not None and is_hosts_own(model)


def _of_this_machine(target: Target, service: Service) -> Service:
    """`service` without models that are on the host already."""
    return service.model_copy(update={key: None for key, each in service.models.items() if _on_host(target, each)})


def _document(
    project: Project,
    target: Target,
    root: Path,
    files: Mapping[str, tree.Entry],
    libraries: Sequence[Beside],
    models: Mapping[str, tuple[ModelFile, ...]],
    links: Mapping[str, str],
) -> ReleaseDocument:
    here = project.services_on(target)
    served = list(here.values())
    prepare = commands.prepare(project, target, files)
    used = target.can.on_host and (
        prepare or (target.once and project.once) or not all(service.is_native for service in served)
    )
    made = None
    if used and project.python is not None:
        from provision.release.environment import environment  # not everyone has one to read locks for

        made = environment(project.python, root)
    data = project.data_on(target)
    _check_data(project, data, root, links)
    # What only `shared/data` begins with restarts nothing.
    read = {path: file for path, file in files.items() if not below(path, data)}
    contents = {name: content(service, read, libraries, models, prepare, made) for name, service in here.items()}
    lanes = manifests.render_lanes(
        project,
        target,
        models={
            **{model: model for service in served for model in service.every_model if _on_host(target, model)},
            **{declared: parts[0].told for declared, parts in models.items()},
        },
        contents=contents,
        needed=needed(here, project.models, root),
        overrides=root / "templates",
    )
    front = manifests.traffic(project, target)
    document: ReleaseDocument = {
        "format": _format(prepare, lanes, front),
        "project": project.name,
        "platform": str(target.platform),
        "path": target.path,
        "links": dict(links),
        "models": {
            model.relative: {
                "sha256": model.sha256,
                "bytes": model.bytes,
                "tensor_types": list(model.tensor_types),
                "architecture": model.architecture,
            }
            for parts in models.values()
            for model in parts
        },
        "prepare": prepare,
        "lanes": {str(lane): document for lane, document in lanes.items()},
    }
    if any(service.engine == "wheel" for service in served):
        document["engines"] = {wheel().id: wheel().document()}
    if once := commands.once(project, target):
        document["once"] = once
    if data:
        document["data"] = data
    if front:
        document["traffic"] = front
    if made:
        document["environment"] = made
    return document


def _check_data(project: Project, data: Iterable[str], root: Path, links: Mapping[str, str]) -> None:
    for path in data:
        if (root / path).is_symlink() or (root / path).is_file():
            raise UsageError(
                f"{path}, which a service names as data, is no folder here",
                next_step="name the folder that it is in, and let the programs write there",
            )
        for other in (*links, *(service.binary or "" for service in project.services.values())):
            if below(os.path.normpath(other), [path]) or other == path:
                raise UsageError(
                    f"{other}, which a service needs, lies in {path}, which one names as data",
                    why="what programs write to begins with what the first release brings, and is never shipped again",
                    next_step="keep the two apart",
                )


def _format(prepare: PrepareDocument | None, lanes: Mapping[Lane, LaneDocument], front: TrafficDocument | None) -> int:
    """The least that reads it: an older version may roll back to what has nothing of later ones."""
    services = [service for lane in lanes.values() for service in lane["services"]]
    if front and ("behind" in front or "admits" in front):
        return FORMAT_OF_PEERS
    if any(check["kind"] == "bench" for service in services for check in service["checks"]):
        return FORMAT_OF_BENCH
    if front:
        return FORMAT_OF_TRAFFIC
    if any("slot" in service or devices.want(service) for service in services):
        return FORMAT_OF_COPIES
    manifests_ = (service["manifest"]["text"] for service in services)
    made = (prepare and "env_of_secrets" in prepare) or any(f'"{OF_SECRETS}": ' in text for text in manifests_)
    return FORMAT_OF_SECRETS if made else FORMAT
