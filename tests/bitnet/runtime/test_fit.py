"""What a model needs, and how much of it goes to the GPUs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bitnet.model import ModelFacts, Serving, memory_needed, plan_gpu_layers
from bitnet.model.fit import cache_bytes, compute_bytes

MIB = 1 << 20
# Four layers of 100 MiB, a cache of 10 MiB a layer for 1024 tokens, 50 MiB of embeddings; of the batch, the mask alone.
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
    feed_forward=0,
    heads=0,
    kv_per_token=(5 * 1024,) * 4,
    chat_template=False,
)
SPARE = 384 * MIB


def test_memory_is_weights_cache_buffers_and_the_process() -> None:
    assert memory_needed(FACTS, Serving(1024)) == (450 + 40 + 1 + 32) * MIB


def test_a_batch_takes_its_widest_step_its_mask_and_a_line_of_logits_for_each_slot() -> None:
    facts = replace(FACTS, vocabulary=128_256, embedding_length=2560, feed_forward=6912)
    step, mask = 512 * 4 * (3 * 6912 + 4 * 2560), 512 * 1024 * 2

    assert compute_bytes(facts, Serving(1024)) == step + mask + 4 * 4 * 128_256
    assert compute_bytes(facts, Serving(8 * 1024, slots=8)) == step + mask + 8 * 4 * 128_256


def test_a_context_of_zero_is_the_trained_one() -> None:
    assert memory_needed(FACTS, Serving()) == memory_needed(FACTS, Serving(2048)) > memory_needed(FACTS, Serving(1024))
    assert cache_bytes(FACTS, Serving(2048)) == (20 * MIB,) * 4


@pytest.mark.parametrize(("layers", "mib"), [(0, 523), (1, 413), (4, 83), (5, 33), (99, 33)])
def test_what_is_on_the_gpu_needs_no_main_memory(layers: int, mib: int) -> None:
    assert memory_needed(FACTS, Serving(1024), layers) == mib * MIB


@pytest.mark.parametrize(
    ("free", "layers", "why"),
    [
        (0, 0, "0 of 4 layers"),
        (SPARE + 110 * MIB, 0, "0 of 4 layers"),
        (SPARE + 111 * MIB, 1, "1 of 4 layers"),
        (SPARE + 441 * MIB, 4, "the output does not"),
        (SPARE + 491 * MIB, 5, "the whole model fits"),
        (80 << 30, 5, "the whole model fits"),
    ],
)
def test_as_many_layers_as_fit_go_to_the_gpu(free: int, layers: int, why: str) -> None:
    plan = plan_gpu_layers(FACTS, Serving(1024), free)

    assert plan.layers == layers
    assert why in plan.why


def test_a_longer_context_leaves_room_for_fewer_layers() -> None:
    free = SPARE + 338 * MIB

    assert plan_gpu_layers(FACTS, Serving(1024), free).layers == 3
    assert plan_gpu_layers(FACTS, Serving(8192), free).layers == 1


def test_of_much_memory_a_share_is_left_free() -> None:
    big = replace(FACTS, layer_bytes=(10_000 * MIB,) * 4)

    assert plan_gpu_layers(big, Serving(1024), 42_000 * MIB).layers == 3


@pytest.mark.parametrize("kind", ["TQ2_0", "TQ1_0", "I2_S", "TL1"])
def test_types_without_cuda_kernels_stay_on_the_cpu(kind: str) -> None:
    plan = plan_gpu_layers(replace(FACTS, tensor_types={"F32": 1, kind: 4}), Serving(1024), 80 << 30)

    assert plan.layers == 0
    assert kind in plan.why


@pytest.mark.parametrize(
    ("words", "serving"),
    [
        ("llama-server -m m.gguf", Serving()),
        ("llama-server -c 4096 -np 2 -ctk q8_0 -ctv q4_0", Serving(4096, 2, keys="q8_0", values="q4_0")),
        ("llama-server --ctx-size=4096 --parallel=2 --flash-attn off", Serving(4096, 2, attention="off")),
        ("llama-server --ubatch-size 256", Serving(batch=256)),
        ("llama-server --batch-size 64", Serving(batch=64)),
        ("llama-server --parallel -1 --cache-type-k q99 -c", Serving()),
    ],
)
def test_a_command_says_how_its_model_is_served(words: str, serving: Serving) -> None:
    assert Serving.told(words.split()) == serving
