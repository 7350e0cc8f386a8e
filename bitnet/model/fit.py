"""What a model needs to run, and how much of it fits on the GPUs. Pure.

The numbers follow llama.cpp's own allocations, and tests hold them against what llama-server says that it has: weights
as they are in the file, a cache of keys and values for each cell, and the buffer of one physical batch. A token's
widest step is its feed-forward part: gate, up and their product at once, beside four rows as wide as the model; of a
mixture, all experts that the token goes to. Without flash attention the scores of each head may be wider. The mask has
a number for each cell and token of the batch. Sliding windows are not counted out: this is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from bitnet.model.facts import ModelFacts
from bitnet.model.types import CPU_ONLY_TYPES

_DIGITS = 19  # of the longest number that llama-server reads
_SLOTS = 4  # llama-server's own number where it is told none, with one cache for all of them
_CELLS = 256  # a cache has a multiple of this many
_LEAST_CELLS = 2  # of them: who serves fewer than 512 tokens
_NUMBER = 4  # bytes of an f32
_HALF = 2
_PROCESS_BYTES = 32 << 20  # code, tokenizer, HTTP server
_GPU_SPARE = 0.05  # of the free VRAM, for CUDA's context and fragmentation
_GPU_SPARE_LEAST = 384 << 20

# Words of llama-server's command -> what they set; all take a value.
_WORDS = {
    **dict.fromkeys(("-c", "--ctx-size"), "context"),
    **dict.fromkeys(("-np", "--parallel"), "slots"),
    **dict.fromkeys(("-ub", "--ubatch-size"), "batch"),
    **dict.fromkeys(("-b", "--batch-size"), "whole batch"),
    **dict.fromkeys(("-ctk", "--cache-type-k"), "keys"),
    **dict.fromkeys(("-ctv", "--cache-type-v"), "values"),
    **dict.fromkeys(("-fa", "--flash-attn"), "attention"),
}


@dataclass(frozen=True)
class Serving:
    """How a model is run, as far as its memory depends on it; what llama-server itself takes where nothing is said.

    Attributes:
        context: tokens of all slots together; 0 for what the model was trained for.
        slots: requests at once, each with a part of the context; 0 for four that share it.
        batch: tokens that are computed at once.
        keys, values: types of the cache.
        attention: "off" where scores are kept whole; else flash attention.
    """

    context: int = 0
    slots: int = 0
    batch: int = 512
    keys: str = "f16"
    values: str = "f16"
    attention: str = "auto"

    @classmethod
    def told(cls, command: Sequence[str]) -> Serving:
        """What the words of a command say; one that is no number, or no type, is left to llama-server to refuse."""
        said: dict[str, str] = {}
        for word, following in zip(command, [*command[1:], ""], strict=True):
            name, _, value = word.partition("=") if word.startswith("--") else (word, "", "")
            if key := _WORDS.get(name):
                said[key] = value or following
        number = {key: int(value) for key, value in said.items() if value.isdecimal() and len(value) < _DIGITS}
        kind = {key: value for key, value in said.items() if value.upper() in _TYPES}
        return cls(
            context=number.get("context", 0),
            slots=number.get("slots", 0),
            batch=min(number.get("batch", cls.batch), number.get("whole batch", cls.batch)),
            keys=kind.get("keys", cls.keys),
            values=kind.get("values", cls.values),
            attention=said.get("attention", cls.attention),
        )

    def cells(self, facts: ModelFacts) -> tuple[int, int]:
        """Cells of one cache, and how many such caches there are."""
        context = self.context or facts.context_length
        return _padded(-(-context // max(1, self.slots))), max(1, self.slots)


_TYPES = {kind.name: kind for kind in GGMLQuantizationType}


@dataclass(frozen=True)
class GpuPlan:
    """How many layers to place on the GPUs, and why that many."""

    layers: int
    why: str


def cache_bytes(facts: ModelFacts, serving: Serving) -> tuple[int, ...]:
    """Per layer, the cache of all slots."""
    cells, caches = serving.cells(facts)
    keys, values = (GGML_QUANT_SIZES[_TYPES[kind.upper()]] for kind in (serving.keys, serving.values))
    # Keys and values of a token are of one width in all but a few models: each has half of them.
    return tuple(
        cells * caches * (each * keys[1] // keys[0] + each * values[1] // values[0]) // 2 for each in facts.kv_per_token
    )


def compute_bytes(facts: ModelFacts, serving: Serving) -> int:
    """The buffers of one batch, and the logits of each slot's next token."""
    cells, _ = serving.cells(facts)
    whole = serving.attention == "off"
    widest = 3 * max(facts.feed_forward, facts.embedding_length)
    if whole:
        widest = max(widest, facts.heads * cells + 3 * facts.embedding_length)
    numbers = widest + 4 * facts.embedding_length
    logits = facts.vocabulary * _NUMBER * (serving.slots or _SLOTS)
    return serving.batch * (numbers * _NUMBER + cells * (_NUMBER if whole else _HALF)) + logits


def memory_needed(facts: ModelFacts, serving: Serving, gpu_layers: int = 0) -> int:
    """Bytes of main memory for the model, served so, with that many of its last layers on GPUs."""
    kept = max(0, len(facts.layer_bytes) - gpu_layers)
    layers = sum(facts.layer_bytes[:kept]) + sum(cache_bytes(facts, serving)[:kept])
    others = 0 if gpu_layers > len(facts.layer_bytes) else facts.other_bytes
    return layers + others + compute_bytes(facts, serving) + _PROCESS_BYTES


def vram_needed(facts: ModelFacts, serving: Serving, gpu_layers: int) -> int:
    """Bytes of VRAM for that many of its last layers; more than there are mean the output too."""
    total = len(facts.layer_bytes)
    first = max(0, total - gpu_layers)
    if gpu_layers <= 0 or CPU_ONLY_TYPES & facts.tensor_types.keys():
        return 0
    layers = sum(facts.layer_bytes[first:]) + sum(cache_bytes(facts, serving)[first:])
    others = facts.other_bytes if gpu_layers > total else 0
    return layers + others + compute_bytes(facts, serving) + _GPU_SPARE_LEAST


def largest_context(
    facts: ModelFacts, serving: Serving, free: int, needed: Callable[[ModelFacts, Serving], int]
) -> int:
    """The longest context, no longer than it is served with, with which it needs no more than `free`; 0 for none."""
    slots = max(1, serving.slots)
    most = (serving.context or facts.context_length) // (_CELLS * slots)
    fitting = (
        each * _CELLS * slots
        for each in _halves(most)
        if needed(facts, replace(serving, context=each * _CELLS * slots)) <= free
    )
    return next(fitting, 0)


def _halves(most: int) -> Iterator[int]:
    """Fractions of `most` by halves, three quarters between them: what a person would write."""
    each = 1 << max(0, most.bit_length())
    while each >= _LEAST_CELLS:
        for wanted in (each, each * 3 // 4):
            if wanted <= most:
                yield wanted
        each //= 2


def plan_gpu_layers(facts: ModelFacts, serving: Serving, free: int) -> GpuPlan:
    """As many of the last layers as fit into `free` bytes of VRAM; one more than there are means the output too.

    llama.cpp offloads from the last layer backwards, and the output only after all layers.
    """
    total = len(facts.layer_bytes)
    unsupported = sorted(CPU_ONLY_TYPES & facts.tensor_types.keys())
    if unsupported:
        return GpuPlan(0, f"llama.cpp has no CUDA kernels for {', '.join(unsupported)}")
    room = free - max(int(free * _GPU_SPARE), _GPU_SPARE_LEAST) - compute_bytes(facts, serving)
    sizes = [weights + cache for weights, cache in zip(facts.layer_bytes, cache_bytes(facts, serving), strict=True)]
    for layers, size in enumerate(reversed(sizes)):
        if size > room:
            return GpuPlan(layers, f"{layers} of {total} layers fit into {free >> 20} MiB of free VRAM")
        room -= size
    if facts.other_bytes <= room:
        return GpuPlan(total + 1, f"the whole model fits into {free >> 20} MiB of free VRAM")
    return GpuPlan(total, f"all {total} layers fit into {free >> 20} MiB of free VRAM, the output does not")


def _padded(cells: int) -> int:
    return -(-cells // _CELLS) * _CELLS
