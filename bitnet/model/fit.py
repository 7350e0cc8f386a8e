"""What a model needs to run, and how much of it fits on the GPUs. Pure.

The numbers follow llama.cpp's own allocations: weights as they are in the file, a cache of 16-bit keys and values for
each token of the context, and a compute buffer whose largest part holds the logits of one physical batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitnet.model.facts import ModelFacts
from bitnet.model.types import CPU_ONLY_TYPES

_PHYSICAL_BATCH = 512  # llama.cpp's --ubatch-size
_CACHE_VALUE_BYTES = 2  # f16
_LOGIT_BYTES = 4  # f32
_PROCESS_BYTES = 32 << 20  # code, tokenizer, HTTP server
_GPU_SPARE = 0.05  # of the free VRAM, for CUDA's context and fragmentation
_GPU_SPARE_LEAST = 384 << 20


@dataclass(frozen=True)
class GpuPlan:
    """How many layers to place on the GPUs, and why that many."""

    layers: int
    why: str


def cache_bytes(facts: ModelFacts, context: int) -> tuple[int, ...]:
    """Per layer, the cache for a context of that many tokens."""
    return tuple(values * context * _CACHE_VALUE_BYTES for values in facts.kv_per_token)


def compute_bytes(facts: ModelFacts) -> int:
    """The buffers of one batch: its logits, and a dozen rows as wide as the model."""
    return _PHYSICAL_BATCH * _LOGIT_BYTES * (facts.vocabulary + 12 * facts.embedding_length)


def memory_needed(facts: ModelFacts, context: int, gpu_layers: int = 0) -> int:
    """Bytes of main memory for the model with `context` tokens (0: what the model was trained for)."""
    tokens = context or facts.context_length
    kept = max(0, len(facts.layer_bytes) - gpu_layers)
    layers = sum(facts.layer_bytes[:kept]) + sum(cache_bytes(facts, tokens)[:kept])
    others = 0 if gpu_layers > len(facts.layer_bytes) else facts.other_bytes
    return layers + others + compute_bytes(facts) + _PROCESS_BYTES


def plan_gpu_layers(facts: ModelFacts, context: int, free: int) -> GpuPlan:
    """As many of the last layers as fit into `free` bytes of VRAM; one more than there are means the output too.

    llama.cpp offloads from the last layer backwards, and the output only after all layers.
    """
    total = len(facts.layer_bytes)
    unsupported = sorted(CPU_ONLY_TYPES & facts.tensor_types.keys())
    if unsupported:
        return GpuPlan(0, f"llama.cpp has no CUDA kernels for {', '.join(unsupported)}")
    room = free - max(int(free * _GPU_SPARE), _GPU_SPARE_LEAST) - compute_bytes(facts)
    caches = cache_bytes(facts, context or facts.context_length)
    sizes = [weights + cache for weights, cache in zip(facts.layer_bytes, caches, strict=True)]
    for layers, size in enumerate(reversed(sizes)):
        if size > room:
            return GpuPlan(layers, f"{layers} of {total} layers fit into {free >> 20} MiB of free VRAM")
        room -= size
    if facts.other_bytes <= room:
        return GpuPlan(total + 1, f"the whole model fits into {free >> 20} MiB of free VRAM")
    return GpuPlan(total, f"all {total} layers fit into {free >> 20} MiB of free VRAM, the output does not")
