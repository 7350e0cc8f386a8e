"""Snapshots of the Hub in a release: laid out as the Hub's own cache, each file a link to its content on the host.

A program that reads that cache (`HF_HUB_CACHE`, `HF_HUB_OFFLINE=1`) finds the repository by its name, and one that
takes a folder is told the snapshot's. What is small and nobody's content stands in the release itself: which commit a
name stands for, and files without a byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from provision.project.models import Model, in_cache, name_of, references
from provision.release import model_lock
from provision.release.model_file import ModelFile

if TYPE_CHECKING:
    from provision.project.service import Service
    from provision.release.model_lock import SnapshotShape

_CONTEXT = ("--max-model-len", "--context-length", "--max-seq-len")
_SHARE = ("--gpu-memory-utilization", "--mem-fraction-static")  # of a GPU's memory that the server takes for itself
_CACHE_TYPE = "--kv-cache-dtype"
# What makes of the weights something else than lies there, or puts a part of them elsewhere.
_OTHERWISE = {"--quantization", "-q", "--cpu-offload-gb", "--load-format"}
_FULL_WIDTH = ("float", "float32")  # of --dtype
_WIDE = {"F64": 8, "F32": 4}  # which servers keep in two bytes
# On each GPU: CUDA's own, graphs, and what is computed with; with less, vLLM says "No available memory for the cache
# blocks". Not measured here, where there is no GPU that it could run on.
_BESIDES = 2_000_000_000


def files(place: str, model: Model, root: Path) -> tuple[ModelFile, ...]:
    """The files of a snapshot with anything in them.

    Raises:
        UsageError: it is not locked.
    """
    found = model_lock.locked_snapshot(name_of(place), model, root)
    folder = in_cache(place, model.source, found.revision)
    return tuple(
        ModelFile.fetched(model, file, f"{folder}/{file.path}", found.architecture, folder=folder)
        for file in found.files
        if file.bytes
    )


def texts(declared: Mapping[str, Model], used: Iterable[str], root: Path) -> dict[str, str]:
    """By path in a release, what stands there of the snapshots among `used`. Raises as `files`."""
    found: dict[str, str] = {}
    for place in used:
        model = declared.get(place)
        if model is None or not model.is_snapshot:
            continue
        locked = model_lock.locked_snapshot(name_of(place), model, root)
        folder = in_cache(place, model.source, locked.revision)
        found |= dict.fromkeys(references(place, model.source), locked.revision)
        found |= {f"{folder}/{file.path}": "" for file in locked.files if not file.bytes}
    return found


def vram_needed(service: Service, shape: SnapshotShape) -> int | None:
    """What a server of safetensors needs of each of its GPUs; None where its command does not tell."""
    said = _said(service.known_words)
    context = next((said[option] for option in _CONTEXT if option in said), "")
    if not context.isdecimal() or not service.resources.devices or said.get("--dtype") in _FULL_WIDTH:
        return None
    if said.keys() & _OTHERWISE:
        return None
    share = next((_fraction(said[option]) for option in _SHARE if option in said), 0.9)
    width = 1 if said.get(_CACHE_TYPE, "").startswith("fp8") else 2
    whole = weights(shape) + cache(shape, int(context), width)
    return math.ceil((whole / service.resources.devices + _BESIDES) / share)


def weights(shape: SnapshotShape) -> int:
    """Bytes of them in memory."""
    wide = sum(count * (_WIDE[kind] - 2) for kind, count in shape.parameters.items() if kind in _WIDE)
    return max(0, shape.weights - wide)


def cache(shape: SnapshotShape, context: int, width: int = 2) -> int:
    """Bytes that one request of `context` tokens takes in the cache, each value in `width` of them."""
    tokens = shape.layers * context + shape.windowed * min(context, shape.window or context)
    return tokens * shape.kv_per_layer * width


def _said(words: Sequence[str]) -> dict[str, str]:
    """The options of a command with what follows each."""
    found: dict[str, str] = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("-"):
            option, _, value = word.partition("=")
            found[option] = value or following
    return found


def _fraction(text: str) -> float:
    try:
        return min(max(float(text), 0.05), 1.0)
    except ValueError:
        return 0.9
