"""What a host lacks of a release, compared by digests: files, models, engines, environments, and values of secrets."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from provision.contract.model_types import without_kernels
from provision.contract.names import ENVIRONMENT
from provision.plan.difference import Content, FileChanges

if TYPE_CHECKING:
    from provision.contract.facts import ProjectFacts
    from provision.contract.release import EngineDocument, ModelDocument, ReleaseDocument

_LARGE = 50_000_000  # bytes: with this much in one file, who ships it by mistake wants to know


def environments(document: ReleaseDocument | None) -> dict[str, str]:
    """What its environment is made of: id -> how it is called."""
    made = document.get("environment") if document else None
    if not made:
        return {}
    own = {made["layer"]["id"]: "of the project itself"} if "layer" in made else {}
    return {made["id"]: f"for Python {made['python']}", **own}


def on_the_cpu(models: Mapping[str, ModelDocument]) -> Iterator[str]:
    """The models that a host's GPUs can't compute."""
    for name, model in models.items():
        yield from without_kernels(name, model["tensor_types"])


def contents(
    models: Mapping[str, ModelDocument],
    engines: Mapping[str, EngineDocument],
    made: Mapping[str, str],
    facts: ProjectFacts,
) -> Iterator[Content]:
    for name, model in models.items():
        whole = model["sha256"] in facts["models"]
        there = model["bytes"] if whole else facts["uploads"].get(model["sha256"], 0)
        yield Content("model", name, model["bytes"], there, whole)
    for engine, described in engines.items():
        yield Content("engine", f"{described['package']} {described['version']}", 0, 0, engine in facts["engines"])
    for id_, name in made.items():
        yield Content("environment", name, 0, 0, id_ in facts["environments"])


def new_secrets(facts: ProjectFacts, secrets: Mapping[str, str]) -> list[str]:
    """Names of the secrets whose value the host does not have. Values are compared by keyed digests alone."""
    salt = bytes.fromhex(facts["salt"])
    return sorted(
        name
        for name, value in secrets.items()
        if not hmac.compare_digest(
            facts["secrets"].get(name, ""), hmac.new(salt, value.encode(), hashlib.sha256).hexdigest()
        )
    )


def file_changes(
    old: Mapping[str, str], new: Mapping[str, str], sizes: Mapping[str, int], made: Collection[str] = ()
) -> FileChanges:
    """What differs.

    Args:
        sizes: path -> bytes.
        made: paths of what hosts make themselves, which is shipped by nobody and so is not removed either.
    """
    added = sorted(new.keys() - old.keys())
    changed = sorted(path for path in new.keys() & old.keys() if new[path] != old[path])
    shipped = {path: sizes.get(path, 0) for path in (*added, *changed)}
    return FileChanges(
        added=tuple(added),
        changed=tuple(changed),
        removed=tuple(sorted(path for path in old.keys() - new.keys() if not _is_made(path, made))),
        bytes=sum(shipped.values()),
        large={path: size for path, size in shipped.items() if size >= _LARGE},
    )


def _is_made(path: str, made: Collection[str]) -> bool:
    way = path.split("/")
    return way[0] == ENVIRONMENT or any("/".join(way[:depth]) in made for depth in range(1, len(way) + 1))
