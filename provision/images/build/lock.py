"""images/lock.json: base images by digest, downloaded sources by SHA-256. Nothing else comes into an image."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from provision.errors import RegistryFailed, UsageError
from provision.images.build.bake import FOLDER
from provision.images.registry.reference import Reference, parse
from provision.images.registry.repository import Repository, connect

_FILE = "lock.json"
_SOURCES = "native/sources.json"


@dataclass(frozen=True)
class Lock:
    """Base images and sources, by the names that recipes use."""

    bases: Mapping[str, Reference]  # with tag and digest: the tag says where `refresh` looks
    sources: Mapping[str, Mapping[str, str]]

    def base(self, name: str) -> str:
        """What `FROM` gets; nothing for no name.

        Raises:
            UsageError: nothing is locked under `name`.
        """
        if not name:
            return ""
        if name not in self.bases:
            raise UsageError(
                f"{FOLDER}/{_FILE} has no base {name!r}.", why=f"It has {', '.join(self.bases) or 'none'}."
            )
        found = self.bases[name]
        return str(found.at(found.digest))


@dataclass(frozen=True)
class Moved:
    """A pin that is not what it was."""

    name: str
    before: str
    after: str


def read_lock(root: Path) -> Lock:
    """The lock file of the project in `root`.

    Raises:
        UsageError: it is missing, or says something else.
    """
    file = root / FOLDER / _FILE
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        bases = {name: parse(f"{base['image']}@{base['digest']}") for name, base in said["bases"].items()}
        return Lock(bases, said["sources"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{file} cannot be read.",
            why=f"{type(error).__name__}: {error}",
            next_step="git checkout images/lock.json, then deploy image lock",
        ) from None


def refresh(
    lock: Lock, root: Path, repository: Callable[[Reference], Repository] | None = None
) -> tuple[Lock, list[Moved]]:
    """Today's digests of the tags, and the sources that `native/sources.json` pins; and what is new.

    Raises:
        RegistryFailed: a registry does not answer, or has no such tag.
    """
    repository = repository or (lambda reference: connect(reference, write=False, own_token=False))
    moved, bases = [], {}
    for name, base in lock.bases.items():
        digest = repository(base).digest(base.tag)
        if not digest:
            raise RegistryFailed(f"{base.name} has no tag {base.tag} any more.", next_step=f"edit {FOLDER}/{_FILE}")
        bases[name] = replace(base, digest=digest)
        moved += [Moved(f"{base.name}:{base.tag}", base.digest, digest)] if digest != base.digest else []
    sources = _sources(root)
    for name, pin in sources.items():
        before = lock.sources.get(name, {}).get("sha256", "")
        moved += [Moved(name, before, pin["sha256"])] if before != pin["sha256"] else []
    return Lock(bases, sources), moved


def write(lock: Lock, root: Path) -> None:
    bases = {
        name: {"image": f"{base.name}:{base.tag}", "digest": base.digest} for name, base in sorted(lock.bases.items())
    }
    text = json.dumps({"bases": bases, "sources": lock.sources}, indent=2, sort_keys=True)
    (root / FOLDER / _FILE).write_text(text + "\n", encoding="utf-8")


def _sources(root: Path) -> dict[str, dict[str, str]]:
    """The files that a native build downloads; checkouts that a person names are not pinned here."""
    declared: dict[str, dict[str, Any]] = json.loads((root / _SOURCES).read_text(encoding="utf-8"))
    files = [(name, source) for name, source in declared.items() if "sha256" in source]
    files += [(wheel["package"], wheel) for source in declared.values() for wheel in source.get("wheels", ())]
    return {name: {"file": file["file"], "sha256": file["sha256"]} for name, file in sorted(files)}
