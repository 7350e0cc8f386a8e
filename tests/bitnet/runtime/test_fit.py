"""What a model needs, and how much of it goes to the GPUs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bitnet.model import ModelFacts, memory_needed, plan_gpu_layers
from bitnet.model.fit import cache_bytes, compute_bytes

MIB = 1 << 20
# Four layers of 100 MiB, a cache of 10 MiB a layer for 1024 tokens, 50 MiB of embeddings; hardly any compute buffer.
FACTS = ModelFacts(
    path=Path("m.gguf"),
    size=450 * MIB,
    name="",
    architecture="llama",
    tensor_types={"Q4_K": 4},
    layer_bytes=(100 * MIB,) * 4,
    other_bytes=50 * MIB,
    context_length=2048,
    embedding_length=0,
    vocabulary=0,
    kv_per_token=(5 * 1024,) * 4,
    chat_template=False,
)
SPARE = 384 * MIB


def test_memory_is_weights_cache_buffers_and_the_process() -> None:
    assert memory_needed(FACTS, 1024) == (450 + 40 + 32) * MIB


def test_the_logits_of_a_batch_are_the_compute_buffer() -> None:
    facts = replace(FACTS, vocabulary=128_256, embedding_length=2560)

    assert compute_bytes(facts) == 512 * 4 * (128_256 + 12 * 2560)


def test_a_context_of_zero_is_the_trained_one() -> None:
    assert memory_needed(FACTS, 0) == memory_needed(FACTS, 2048) > memory_needed(FACTS, 1024)
    assert cache_bytes(FACTS, 2048) == (20 * MIB,) * 4


@pytest.mark.parametrize(("layers", "mib"), [(0, 522), (1, 412), (4, 82), (5, 32), (99, 32)])
def test_what_is_on_the_gpu_needs_no_main_memory(layers: int, mib: int) -> None:
    assert memory_needed(FACTS, 1024, layers) == mib * MIB


@pytest.mark.parametrize(
    ("free", "layers", "why"),
    [
        (0, 0, "0 of 4 layers"),
        (SPARE + 109 * MIB, 0, "0 of 4 layers"),
        (SPARE + 110 * MIB, 1, "1 of 4 layers"),
        (SPARE + 440 * MIB, 4, "the output does not"),
        (SPARE + 490 * MIB, 5, "the whole model fits"),
        (80 << 30, 5, "the whole model fits"),
    ],
)
def test_as_many_layers_as_fit_go_to_the_gpu(free: int, layers: int, why: str) -> None:
    plan = plan_gpu_layers(FACTS, 1024, free)

    assert plan.layers == layers
    assert why in plan.why


def test_a_longer_context_leaves_room_for_fewer_layers() -> None:
    free = SPARE + 330 * MIB

    assert plan_gpu_layers(FACTS, 1024, free).layers == 3
    assert plan_gpu_layers(FACTS, 8192, free).layers == 1


def test_of_much_memory_a_share_is_left_free() -> None:
    big = replace(FACTS, layer_bytes=(10_000 * MIB,) * 4)

    assert plan_gpu_layers(big, 1024, 42_000 * MIB).layers == 3


@pytest.mark.parametrize("kind", ["TQ2_0", "TQ1_0", "I2_S", "TL1"])
def test_types_without_cuda_kernels_stay_on_the_cpu(kind: str) -> None:
    plan = plan_gpu_layers(replace(FACTS, tensor_types={"F32": 1, kind: 4}), 1024, 80 << 30)

    assert plan.layers == 0
    assert kind in plan.why
