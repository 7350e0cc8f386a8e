"""A whole repository of safetensors at the Hub: which files, of which content, and what a server of them needs.

Of large files the Hub says sha256. Of small ones, which lie in git itself, it says what git calls them: they are read
whole, compared with that, and their sha256 is taken here. Of safetensors the headers are read (safetensors, "Format"),
and config.json says how much a server keeps of each token.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from provision.errors import DeployError, UsageError
from provision.models import hub
from provision.models.ranges import Ranges
from provision.project.models import ALLOWED, PICKLES, AtTheHub, Model
from provision.release.model_lock import LONGEST, LockedSnapshot, SnapshotFile, SnapshotShape

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_CONFIG = "config.json"
_WEIGHTS = ".safetensors"
_SMALL = 32 << 20  # bytes: what git itself holds at the Hub is smaller
_FIRST = 1 << 20  # bytes of safetensors that are read at first, for most headers
_HEADER = 32 << 20
_MOST = 1000  # files: a repository with more is no model
_AT_ONCE = 8
_FULL, _WINDOWED = ("full_attention", "attention"), ("sliding_attention", "chunked_attention")


class FoundSnapshot(NamedTuple):
    """A snapshot, as it is written down."""

    locked: LockedSnapshot
    read: int  # bytes that it took to know


class _File(NamedTuple):
    """What is known of a file."""

    locked: SnapshotFile
    content: bytes  # of config.json, and of weights their header
    read: int


def find(name: str, model: Model, token: str) -> FoundSnapshot:
    """Look at the repository that is declared as `name`.

    Raises:
        UsageError: there is no such repository, it has no safetensors, or nobody may read it.
        DeployError: the Hub can't be asked, or does not say which content it has.
    """
    at = AtTheHub(model.source)
    info, endpoint = hub.repository(name, at, token)
    revision = info.sha or ""
    if not re.fullmatch("[0-9a-f]{40}", revision):
        raise _unsaid(name, endpoint, "A commit is 40 hexadecimal digits.")
    there = {each.rfilename: each for each in hub.siblings(info)}
    chosen = _chosen(name, model, at, list(there))

    def look(path: str) -> _File:
        url = f"{endpoint}/{at.repository}/resolve/{revision}/{quote(path)}"
        return _file(name, there[path], url, f"Bearer {token}" if token else "")

    with ThreadPoolExecutor(_AT_ONCE) as asked:
        found = dict(zip(chosen, asked.map(look, chosen), strict=True))
    parameters: Counter[str] = Counter()
    weights = 0
    for path, file in found.items():
        if path.endswith(_WEIGHTS):
            counts, bytes_ = _tensors(name, path, file)
            parameters.update(counts)
            weights += bytes_
    config = _config(name, at, found.get(_CONFIG))
    locked = LockedSnapshot(
        model.source,
        revision,
        _architecture(config),
        model.allow,
        model.ignore,
        tuple(file.locked for file in found.values()),
        _shape(config, dict(sorted(parameters.items())), weights),
    )
    return FoundSnapshot(locked, sum(file.read for file in found.values()))


def _chosen(name: str, model: Model, at: AtTheHub, there: list[str]) -> list[str]:
    from huggingface_hub.utils._paths import filter_repo_objects  # by which its own downloads choose

    wanted = filter_repo_objects(there, allow_patterns=[*(model.allow or ALLOWED)], ignore_patterns=[*model.ignore])
    chosen = sorted(path for path in wanted if not path.endswith(PICKLES))
    if not any(path.endswith(_WEIGHTS) for path in chosen):
        kinds = sorted({ending for path in there for ending in (_WEIGHTS, ".gguf", *PICKLES) if path.endswith(ending)})
        next_step = ""
        if ".gguf" in kinds:
            next_step = f'name one of its files: source = "hf://{at.repository}:Q4_K_M"'
        elif _WEIGHTS in kinds:
            next_step = f"let models.{name}.allow and ignore leave them in"
        elif kinds:
            next_step = "convert it to safetensors: what it has runs what is in it in whoever loads it"
        raise UsageError(
            f"models.{name}: of {at.repository} no safetensors are taken.",
            why=f"It has {', '.join(kinds)}." if kinds else "It has no weights.",
            next_step=next_step,
        )
    if len(chosen) > _MOST:
        raise UsageError(
            f"models.{name}: {at.repository} has {len(chosen)} files of the kinds that are taken.",
            next_step=f"name those that are needed: models.{name}.allow",
        )
    for path in chosen:
        if len(path.encode()) > LONGEST:
            raise UsageError(
                f"models.{name}: {at.repository} has a file whose path is longer than {LONGEST} bytes: {path[:40]}….",
                next_step=f"leave it out: models.{name}.ignore",
            )
    return chosen


def _file(name: str, said: RepoSibling, url: str, authorization: str) -> _File:
    ranges = Ranges(url, authorization)
    path, size = said.rfilename, said.size if isinstance(said.size, int) else -1
    content = b""
    if said.lfs:
        sha256 = said.lfs.sha256 or ""
        if size < 0 or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise _unsaid(name, url, f"Of {path} it says no size, or no sha256.")
        if path.endswith(_WEIGHTS):
            content = _header(name, path, ranges, size)
        elif path == _CONFIG:
            content = ranges.read(0, min(size, _SMALL)).content
        return _File(SnapshotFile(path, url, size, sha256), content, len(content))
    if not 0 <= size <= _SMALL:
        raise _unsaid(name, url, f"Of {path} it says {size} bytes, which git does not hold there.")
    content = ranges.read(0, size).content if size else b""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if git != said.blob_id:
        raise DeployError(
            f"models.{name}: what {path} has is not what the Hub says of it.",
            why=f"Git would call it {git[:12]}, and it is called {str(said.blob_id)[:12]}.",
            next_step="deploy model lock again; if it repeats, look at HF_ENDPOINT and at who is between",
        )
    kept = content if path == _CONFIG else b""  # of a thousand files not each
    if path.endswith(_WEIGHTS):
        kept = _header(name, path, ranges, size)
    return _File(SnapshotFile(path, url, size, hashlib.sha256(content).hexdigest()), kept, size)


def _header(name: str, path: str, ranges: Ranges, size: int) -> bytes:
    """The JSON of safetensors, behind its length."""
    content = ranges.read(0, min(_FIRST, size)).content
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= size - 8:
        raise UsageError(f"models.{name}: {path} is no safetensors file.", why="Its header has no length.")
    if length > _HEADER:
        raise UsageError(f"models.{name}: the header of {path} is longer than {_HEADER >> 20} MiB.")
    if len(content) < 8 + length:
        content += ranges.read(len(content), 8 + length).content
    return content[8 : 8 + length]


def _tensors(name: str, path: str, file: _File) -> tuple[Mapping[str, int], int]:
    """Parameters of each type, and the bytes of them all."""
    counts: Counter[str] = Counter()
    last = 0
    try:
        for key, tensor in json.loads(file.content).items():
            if key == "__metadata__":
                continue
            begin, end = tensor["data_offsets"]
            number = 1
            for each in tensor["shape"]:
                number *= each
            if not (0 <= begin <= end and number >= 0 and isinstance(tensor["dtype"], str)):
                raise ValueError(key)
            counts[tensor["dtype"]] += number
            last = max(last, end)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UsageError(f"models.{name}: {path} is no safetensors file.", why="Its header says no tensors.") from None
    whole = 8 + len(file.content) + last
    if whole != file.locked.bytes:
        raise UsageError(
            f"models.{name}: {path} is not whole.",
            why=f"It has {file.locked.bytes} bytes, and its header says {whole}.",
        )
    return counts, last


def _config(name: str, at: AtTheHub, file: _File | None) -> dict[str, Any]:
    try:
        said = json.loads(file.content) if file else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise UsageError(
            f"models.{name}: {at.repository} has no {_CONFIG}.", why="It says which model the weights are of."
        )
    return said


def _architecture(config: Mapping[str, Any]) -> str:
    said = config.get("architectures")
    first = said[0] if isinstance(said, list) and said else config.get("model_type")
    return first if isinstance(first, str) and first.isprintable() else ""


def _shape(config: dict[str, Any], parameters: dict[str, int], weights: int) -> SnapshotShape:
    """What the weights and config.json tell; 0 where one does not say it."""
    text = config.get("text_config")
    said = text if isinstance(text, dict) else config

    def number(*keys: str) -> int:
        return next((value for key in keys if type(value := said.get(key)) is int and 0 < value < 1 << 40), 0)

    heads = number("num_attention_heads", "n_head")
    layers = number("num_hidden_layers", "n_layer")
    each = number("head_dim") or (number("hidden_size", "n_embd") // heads if heads else 0)
    kept = 2 * each * (number("num_key_value_heads") or heads)
    if latent := number("kv_lora_rank"):  # of DeepSeek's: one for all heads
        kept = latent + number("qk_rope_head_dim")
    kinds = said.get("layer_types")
    kinds = kinds if isinstance(kinds, list) and len(kinds) == layers else [_FULL[0]] * layers
    return SnapshotShape(
        parameters=parameters,
        weights=weights,
        layers=sum(kind in _FULL for kind in kinds),
        windowed=sum(kind in _WINDOWED for kind in kinds),
        window=number("sliding_window", "attention_chunk_size"),
        kv_per_layer=kept,
        context_length=number("max_position_embeddings", "n_positions"),
    )


def _unsaid(name: str, where: str, why: str) -> DeployError:
    return DeployError(
        f"models.{name}: {where} does not say which content it has.",
        why=why,
        next_step="look at HF_ENDPOINT, if that names a mirror",
    )
