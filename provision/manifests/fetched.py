"""A model that is declared by where it is, in containers: who starts before its service fetches it into a volume.

Whatever image does that needs `sh`, `curl` and `sha256sum` alone, and no right at all. A file gets its name once its
digest is what models.lock says; what has arrived of it is kept, and gone on with. A token is read by curl from its
standard input: it stands in no argument, and curl shows it to the host that was named, not to where that sends it on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provision.contract.canonical import digest
from provision.errors import UsageError
from provision.manifests.value import Value
from provision.project.models import in_cache, name_of, references
from provision.project.networks import Endpoint, parse_endpoint
from provision.project.schema import Project

if TYPE_CHECKING:
    from provision.release.model_lock import LockedModel, LockedSnapshot

    Locked = LockedModel | LockedSnapshot

_TEXT = "text"  # where a digest stands else: the file says what follows
FOLDER = "/srv/models"  # where the volume is, in who fetches and in the service
TOKEN_FILE = "/run/secrets/"  # noqa: S105 (a folder)
_PORTS = {"https": 443, "http": 80}
_ROOM = 1.05  # of a file system
_SCRIPT = r"""
set -eu
cd "$1"; shift
authorized() {
    [ ! -f "$1" ] || { printf 'header = "Authorization: Bearer '; tr -d '\r\n' < "$1"; printf '"\n'; }
}
while [ $# -gt 0 ]; do
    mkdir -p "${1%/*}"
    if [ "$2" = text ]; then
        printf %s "$3" > "$1"
    elif [ ! -f "$1" ]; then
        part="$1.${HOSTNAME:-one}.part"
        authorized "$5" | curl --config - --fail --silent --show-error --location --retry 8 --retry-delay 5 \
            --continue-at - --output "$part" "$3" || [ -f "$part" ]
        if ! printf '%s  %s\n' "$2" "$part" | sha256sum -c - ; then
            [ "$(wc -c < "$part")" -lt "$4" ] || rm "$part"
            exit 1
        fi
        mv "$part" "$1"
        rm -f "$1".*.part
    fi
    shift 5
done
""".strip()


@dataclass(frozen=True)
class Fetch:
    """What fetches the model of a service, as a template may use it."""

    image: str
    command: tuple[Value, ...]
    folder: str
    token: str  # the variable with the token of a gated repository; its file is in /run/secrets; empty for none
    bytes: int
    models: tuple[str, ...]  # their names, as they are declared
    mark: str  # of what is fetched, so that another model has a volume of its own
    outbound: tuple[Endpoint, ...]  # whom it has to reach


def told(declared: str, model: Locked) -> str:
    """What a program is told: where its volume has the first file of a model, or the folder of a snapshot."""
    from provision.release.model_lock import LockedModel  # which stands above

    return f"{FOLDER}/{_paths(declared, model)[0] if isinstance(model, LockedModel) else _folder(declared, model)}"


def _paths(declared: str, model: LockedModel) -> tuple[str, ...]:
    """Where each file of a model is in its volume: by content, the parts of a split one beside each other."""
    stem, count = name_of(declared), len(model.files)
    endings = [""] if count == 1 else [f"-{number:05}-of-{count:05}" for number in range(1, count + 1)]
    return tuple(f"sha256-{model.files[0].sha256}/{stem}{ending}.gguf" for ending in endings)


def _place(declared: str, model: LockedSnapshot) -> str:
    return f"{name_of(declared)}-{model.revision[:12]}"


def _folder(declared: str, model: LockedSnapshot) -> str:
    return in_cache(_place(declared, model), model.source, model.revision)


def _wanted(declared: str, model: Locked) -> Iterator[tuple[str, str, str, str]]:
    """Of each file where it is in the volume, its digest, its address and its bytes; or what it says."""
    from provision.release.model_lock import LockedModel  # which stands above

    if isinstance(model, LockedModel):
        for path, file in zip(_paths(declared, model), model.files, strict=True):
            yield path, file.sha256, file.url, str(file.bytes)
        return
    folder = _folder(declared, model)
    for each in model.files:
        path = f"{folder}/{each.path}"
        yield (path, each.sha256, each.url, str(each.bytes)) if each.bytes else (path, _TEXT, "", "0")
    for path in references(_place(declared, model), model.source):
        yield path, _TEXT, model.revision, str(len(model.revision))


def fetch(project: Project, service: str, locked: Mapping[str, Locked], image: str) -> Fetch | None:
    """What fetches the models of a service; None where they are in the image.

    Args:
        image: the service's, which fetches where no model names another.
    """
    declared = [each for each in project.services[service].every_model if each in locked]
    if not declared:
        return None
    said = [project.models[each] for each in declared]
    tokens = sorted({model.token for model in said if model.token})
    if len(tokens) > 1:
        raise UsageError(
            f"services.{service}: its models are fetched with one token, and these have {' and '.join(tokens)}.",
            next_step="let one of them be in the image, or name the same token",
        )
    words = ["/bin/sh", "-c", _SCRIPT, "fetch", FOLDER]
    ports: dict[int, None] = {}
    content: list[tuple[str, str]] = []
    for each in declared:
        token = TOKEN_FILE + (project.models[each].token or "none")
        for path, sha256, url, bytes_ in _wanted(each, locked[each]):
            words += [path, sha256, url, bytes_, token]
            content.append((path, sha256))
            if sha256 != _TEXT:
                ports[_port(each, url)] = None
    return Fetch(
        image=next((model.fetcher for model in said if model.fetcher), image),
        command=tuple(Value(f"models.{name_of(declared[0])}.source", (word,)) for word in words),
        folder=FOLDER,
        token=next(iter(tokens), ""),
        bytes=int(sum(locked[each].bytes for each in declared) * _ROOM),
        models=tuple(map(name_of, declared)),
        mark=digest(content)[:8],
        outbound=tuple(parse_endpoint(f"{network}:{port}") for port in ports for network in ("0.0.0.0/0", "[::/0]")),
    )


def _port(declared: str, url: str) -> int:
    at = urlsplit(url)
    if at.scheme not in _PORTS:
        raise UsageError(
            f"models.{name_of(declared)}: a pod or a container can't fetch from {at.scheme}://.",
            why="It would need keys or a login, where a host is given an address for the time of the fetch.",
            next_step="name an address or the Hub as its source, or have the model in the image",
        )
    return at.port or _PORTS[at.scheme]


def locked(project: Project, root: Path) -> Mapping[str, Locked]:
    """What the lock says of the models that services have, by their places.

    Raises:
        UsageError: one is not locked.
    """
    from provision.release import model_lock

    used = {model for service in project.services.values() for model in service.every_model}
    return {
        declared: (model_lock.locked_snapshot if model.is_snapshot else model_lock.locked)(
            name_of(declared), model, root
        )
        for declared, model in project.models.items()
        if declared in used
    }
