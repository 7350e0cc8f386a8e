"""Finding a declared model: its files, their digests, and what their headers say, without their weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from provision.errors import UsageError
from provision.models.access import Access, access
from provision.models.ranges import Ranges
from provision.project.models import HUB, REGISTRY, Model
from provision.release.model_lock import LockedFile, LockedModel, Shape

if TYPE_CHECKING:
    from bitnet.model import Header, ModelFacts

_WORDS = ("path", "name", "architecture", "chat_template")  # of a model's facts, those that no size depends on
_STEPS = (1 << 20, 8 << 20, 32 << 20)  # bytes that are read of a file until its header is whole


class Found(NamedTuple):
    """A model, as it is written down, and what it is made of."""

    locked: LockedModel
    facts: ModelFacts
    read: int  # bytes that it took to know


def find(name: str, model: Model, token: str, variables: Mapping[str, str]) -> Found:
    """Look at the model that is declared as `name`.

    Args:
        token: of the account that may read it; empty for none.
        variables: .env and the environment.

    Raises:
        UsageError: there is no such model, it is none, or nobody says which digest it has.
        DeployError: where it is can't be asked.
    """
    from bitnet.model import ModelUnusable, model_of, part_of  # brings numpy

    revision, named = _named(name, model, token, variables)
    headers, read = [], 0
    for url, _ in named:
        header, taken = _header(name, url, access(url, token, variables))
        headers.append(header)
        read += taken
    paths = [Path(f"models.{name}")] * len(headers)
    try:
        facts = model_of(list(zip(paths, headers, strict=True)))
        parts = [part_of(path, header) for path, header in zip(paths, headers, strict=True)]
    except ModelUnusable as error:
        raise UsageError(error.what, why=error.why) from None
    files = tuple(
        LockedFile(url, header.file_bytes, sha256, part.tensor_types)
        for (url, sha256), header, part in zip(named, headers, parts, strict=True)
    )
    shape = Shape(**{key: value for key, value in asdict(facts).items() if key not in _WORDS})
    return Found(LockedModel(model.source, revision, facts.architecture, files, shape), facts, read)


def _named(name: str, model: Model, token: str, variables: Mapping[str, str]) -> tuple[str, Sequence[tuple[str, str]]]:
    """Its revision, and of each file where it is and its digest."""
    if model.source.startswith(HUB):
        return _at_hub(name, model, token)
    if model.source.startswith(REGISTRY):
        from provision.models import artifact

        return artifact.files(name, model, variables)
    return "", _at_address(name, model)


def _at_hub(name: str, model: Model, token: str) -> tuple[str, list[tuple[str, str]]]:
    from provision.models import hub

    found = hub.files(name, model.source, token)
    if model.sha256 and [sha256 for _, sha256 in found.files] != [model.sha256]:
        raise UsageError(
            f"models.{name}.sha256 is not the digest that the Hub has at {found.revision[:12]}.",
            next_step="correct it, or leave it out: models.lock keeps what the Hub says",
        )
    return found.revision, list(found.files)


def _at_address(name: str, model: Model) -> list[tuple[str, str]]:
    if model.sha256 is None:
        raise UsageError(
            f"models.{name}.sha256 is missing: of an address nobody else says which file is meant.",
            next_step="add sha256, as whoever publishes it says, or as sha256sum says of your own copy",
        )
    return [(model.source, model.sha256)]


def _header(name: str, url: str, access: Access) -> tuple[Header, int]:
    """The header of the file at `url`, and how many bytes it took."""
    from bitnet.model import BadHeader, CutShort, header_of

    content, whole = b"", 0
    for part in _read(Ranges(access.url, access.authorization)):
        content, whole = content + part[0], part[1]
        try:
            return header_of(content, whole), len(content)
        except CutShort as error:
            if len(content) >= whole:
                raise UsageError(f"models.{name}: {url} is truncated.", why=f"{error}.") from None
        except BadHeader as error:
            raise UsageError(f"models.{name}: {url} is no GGUF model.", why=f"{error}.") from None
    raise UsageError(f"models.{name}: the header of {url} is longer than {_STEPS[-1] >> 20} MiB.")


def _read(ranges: Ranges) -> Iterator[tuple[bytes, int]]:
    begin = 0
    for end in _STEPS:
        part = ranges.read(begin, end)
        yield part
        begin += len(part.content)
