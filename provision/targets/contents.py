"""What a release brings besides its files, as a plan shows it: models with their sources, a snapshot as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from provision.plan import SNAPSHOT, Content

if TYPE_CHECKING:
    from provision.release import ModelFile


def shown(contents: Iterable[Content], files: Iterable[ModelFile]) -> Iterator[Content]:
    """`contents`, whose models are `files`, with where each comes from; the files of a snapshot together."""
    by_path = {file.relative: file for file in files}
    together: dict[str, list[Content]] = {}
    for content in contents:
        file = by_path.get(content.name)
        if file is None:
            yield content
            continue
        known = replace(content, fetched_from=file.fetched_from, relayed=file.relayed)
        if file.folder:
            together.setdefault(file.folder, []).append(known)
        else:
            yield known
    for folder, parts in together.items():
        yield replace(
            parts[0],
            kind=SNAPSHOT,
            name=f"{folder.partition('/hub/')[0]}, {len(parts)} files",
            bytes=sum(part.bytes for part in parts),
            there=sum(part.there for part in parts),
            is_there=all(part.is_there for part in parts),
        )
