"""A model file, checked and understood, before any program opens it.

A binary that meets a type it does not know aborts, and one that meets half a file may do so after a minute of
loading. Both are seen in the header within milliseconds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from bitnet.errors import ModelUnusable
from bitnet.model.header import BadHeader, CutShort, Header, read_header
from bitnet.model.types import tensor_bytes, type_name

_LAYER = re.compile(r"^blk\.(\d+)\.")
_PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")


@dataclass(frozen=True)
class ModelFacts:
    """What a model is made of. Sizes in bytes, lengths in tokens; 0 where the file does not say.

    Attributes:
        path: the file, or the first of its parts.
        size: all parts together.
        name, architecture: as the file names them.
        tensor_types: how many tensors have each type.
        layer_bytes: the weights of each layer, first to last.
        other_bytes: embeddings, output and what else belongs to no layer.
        context_length: what the model was trained for.
        embedding_length, vocabulary: widths of the model.
        feed_forward: the widest one: numbers that a token has there at once, in all experts that it goes to.
        heads: of the attention, the most that a layer has.
        kv_per_token: for each layer, how many values one token adds to the cache.
        chat_template: whether the file brings one.
    """

    path: Path
    size: int
    name: str
    architecture: str
    tensor_types: dict[str, int]
    layer_bytes: tuple[int, ...]
    other_bytes: int
    context_length: int
    embedding_length: int
    vocabulary: int
    feed_forward: int
    heads: int
    kv_per_token: tuple[int, ...]
    chat_template: bool

    def as_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        return {
            "path": str(self.path),
            "bytes": self.size,
            "name": self.name,
            "architecture": self.architecture,
            "tensor_types": self.tensor_types,
            "layers": len(self.layer_bytes),
            "context_length": self.context_length,
            "embedding_length": self.embedding_length,
            "vocabulary": self.vocabulary,
            "chat_template": self.chat_template,
        }


@dataclass(frozen=True)
class PartFacts:
    """What one file of a model holds: the architecture, as it names it, and each type of its tensors once, sorted."""

    architecture: str
    tensor_types: tuple[str, ...]


def read_part(path: Path) -> PartFacts:
    """The facts of one file, whatever other parts the model has.

    Raises:
        ModelUnusable: it is missing, unreadable, no GGUF file, or shorter than its header says.
    """
    return part_of(path, _checked_header(path))


def read_model(path: Path) -> ModelFacts:
    """The facts of the model at `path`; of all its parts, if it is the first of a split model.

    Raises:
        ModelUnusable: it is missing, unreadable, no GGUF file, or shorter than its header says.
    """
    try:
        marks = [(part, part.stat()) for part in _parts(path)]
    except FileNotFoundError as error:
        raise ModelUnusable(
            f"{error.filename}: no such model file",
            next_step=f"check the path; ls {Path(error.filename).parent}",
        ) from None
    except OSError as error:
        raise ModelUnusable(f"{path}: cannot be read", why=str(error.strerror)) from None
    return _read(tuple((part, mark.st_size, mark.st_mtime_ns, mark.st_ctime_ns, mark.st_ino) for part, mark in marks))


def _parts(path: Path) -> list[Path]:
    match = _PART.match(path.name)
    if not match:
        return [path]
    count = int(match["count"])
    return [path.with_name(f"{match['stem']}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1)]


@lru_cache(maxsize=32)
def _read(parts: tuple[tuple[Path, int, int, int, int], ...]) -> ModelFacts:
    """Cached by size, times and inode: a fleet of launches reads one model's header once."""
    return model_of([(path, _checked_header(path)) for path, *_ in parts])


def part_of(path: Path, header: Header) -> PartFacts:
    """What one file of a model holds, by its header.

    Raises:
        ModelUnusable: the file is shorter than its header says.
    """
    types = {kind for _, kind, _ in _tensors(path, header)}
    return PartFacts(_architecture(header), tuple(sorted(types)))


def model_of(files: Sequence[tuple[Path, Header]]) -> ModelFacts:
    """The facts of the model that these files are, in order; raises as `part_of` does."""
    first_path, first = files[0]
    types: Counter[str] = Counter()
    layers: Counter[int] = Counter()
    others = 0
    for path, header in files:
        for name, kind, size in _tensors(path, header):
            types[kind] += 1
            if layer := _LAYER.match(name):
                layers[int(layer[1])] += size
            else:
                others += size
    architecture = _architecture(first)
    layer_count = max(layers, default=-1) + 1
    return ModelFacts(
        path=first_path,
        size=sum(header.file_bytes for _, header in files),
        name=str(first.metadata.get("general.name", "")),
        architecture=architecture,
        tensor_types=dict(types.most_common()),
        layer_bytes=tuple(layers[index] for index in range(layer_count)),
        other_bytes=others,
        context_length=_number(first, f"{architecture}.context_length"),
        embedding_length=_number(first, f"{architecture}.embedding_length"),
        vocabulary=first.lengths.get("tokenizer.ggml.tokens", 0) or _number(first, f"{architecture}.vocab_size"),
        feed_forward=_feed_forward(first, architecture),
        heads=max(_each(first, f"{architecture}.attention.head_count")),
        kv_per_token=_kv_per_token(first, architecture, layer_count),
        chat_template="tokenizer.chat_template" in first.metadata,
    )


def _architecture(header: Header) -> str:
    return str(header.metadata.get("general.architecture", ""))


def _checked_header(path: Path) -> Header:
    try:
        header = read_header(path)
    except CutShort as error:
        raise ModelUnusable(
            f"{path}: the model is truncated", why=str(error), next_step="copy or download it again"
        ) from None
    except BadHeader as error:
        raise ModelUnusable(
            f"{path}: not a GGUF model", why=str(error), next_step="convert it to GGUF first, or give another file"
        ) from None
    except OSError as error:
        raise ModelUnusable(f"{path}: cannot be read", why=str(error.strerror)) from None
    return header


def _tensors(path: Path, header: Header) -> list[tuple[str, str, int]]:
    """Name, type and bytes of each tensor; all of them must end within the file."""
    alignment = _number(header, "general.alignment") or 32
    end = header.file_bytes - header.data_offset
    starts = sorted({tensor.offset for tensor in header.tensors} | {end})
    room = {start: following - start for start, following in pairwise(starts)}
    found = []
    for tensor in header.tensors:
        kind = type_name(tensor.type_id, math.prod(tensor.shape), room.get(tensor.offset, 0), alignment)
        size = tensor_bytes(kind, tensor.shape)
        if tensor.offset + (size or 0) > end or (size is None and tensor.offset >= end):
            raise ModelUnusable(
                f"{path}: the model is truncated",
                why=f"tensor {tensor.name} ends at byte {header.data_offset + tensor.offset + (size or 1)},"
                f" the file has {header.file_bytes}",
                next_step="copy or download it again",
            )
        found.append((tensor.name, kind, room[tensor.offset] if size is None else size))
    return found


def _number(header: Header, key: str) -> int:
    value = header.metadata.get(key, 0)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def _each(header: Header, key: str) -> tuple[int, ...]:
    """A setting of the model, or those of its layers."""
    value = header.metadata.get(key, 0)
    if not isinstance(value, tuple):
        return (_number(header, key),)
    return tuple(int(item) if math.isfinite(item) else 0 for item in value) or (0,)


def _feed_forward(header: Header, architecture: str) -> int:
    dense, used, expert, shared = (
        max(_each(header, f"{architecture}.{key}"))
        for key in (
            "feed_forward_length",
            "expert_used_count",
            "expert_feed_forward_length",
            "expert_shared_feed_forward_length",
        )
    )
    return max(dense, (expert or dense) * used + shared)


def _kv_per_token(header: Header, architecture: str, layers: int) -> tuple[int, ...]:
    """Keys and values of all heads, per layer. Sliding windows are not counted out: this is an upper bound."""

    def setting(key: str) -> tuple[int, ...]:
        values = _each(header, f"{architecture}.{key}")
        return values if len(values) == layers else (max(values),) * layers

    heads = setting("attention.head_count")
    kv_heads = tuple(kv or full for kv, full in zip(setting("attention.head_count_kv"), heads, strict=True))
    width = _number(header, f"{architecture}.embedding_length")
    key, value = (
        _number(header, f"{architecture}.attention.key_length"),
        _number(header, f"{architecture}.attention.value_length"),
    )
    return tuple(
        kv * ((key or width // full) + (value or width // full)) if full else 0
        for kv, full in zip(kv_heads, heads, strict=True)
    )
