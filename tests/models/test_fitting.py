"""What would fit in the place of a model that does not: said by sizes, before a byte of it moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bitnet.model import Serving, largest_context, memory_needed, read_model, vram_needed
from bitnet.model.fit import cache_bytes
from provision.project.models import Model
from provision.project.service import Service
from provision.release.model_needs import gpu_layers
from provision.targets.fitting import _smaller
from tests.models.conftest import Hub


@pytest.fixture(scope="module")
def demo(demo_model: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fitting") / "demo.gguf"
    path.write_bytes(demo_model)
    return path


@pytest.mark.parametrize(("slots", "tokens"), [(0, 2048), (4, 8192), (0, 131072)])
def test_the_longest_context_that_fits_is_said_and_fits(demo: Path, slots: int, tokens: int) -> None:
    facts, serving = read_model(demo), Serving(context=tokens, slots=slots)
    half = memory_needed(facts, Serving(context=tokens // 2, slots=slots))

    context = largest_context(facts, serving, half, memory_needed)

    assert context == tokens // 2
    assert largest_context(facts, serving, memory_needed(facts, serving), memory_needed) == tokens
    assert largest_context(facts, serving, 1, memory_needed) == 0


def test_vram_is_that_of_the_layers_which_are_there(demo: Path) -> None:
    ternary, serving = read_model(demo), Serving(context=4096)
    facts = replace(ternary, tensor_types={"Q8_0": 4})
    each = [vram_needed(facts, serving, layers) for layers in range(7)]

    assert each[0] == 0
    assert each == sorted(each)
    assert each[2] - each[1] == facts.layer_bytes[2] + cache_bytes(facts, serving)[2]
    assert each[5] - each[4] == facts.other_bytes
    assert each[6] == each[5]
    assert vram_needed(ternary, serving, 5) == 0  # no kernels there: it stays in main memory


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        ([], 0),
        (["-ngl", "20"], 20),
        (["--n-gpu-layers=all"], 1 << 20),
        (["--gpu-layers", "auto"], None),
        (["-ngl", "99", "--cpu-moe"], None),
        (["-ngl", "99", "--tensor-split", "1,3"], None),
    ],
)
def test_how_many_layers_are_on_gpus_is_what_the_command_says(words: list[str], layers: int | None) -> None:
    assert gpu_layers(Service.model_validate({"command": ["llama-server", *words]})) == layers


def test_the_largest_of_the_repository_that_fit_are_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    for quantization, size in {"Q8_0": 8000, "Q4_K_M": 4000, "Q3_K_S": 3000, "IQ2_M": 2000, "Q2_K": 1500}.items():
        hub.put("acme/m", f"m-{quantization}.gguf", bytes(size))
    for part in (1, 2):
        hub.put("acme/m", f"m-Q5_0-0000{part}-of-00002.gguf", bytes(2500))
    hub.put("acme/m", "mmproj-m-f16.gguf", bytes(10))
    model = Model.model_validate({"source": "hf://acme/m:Q8_0"})

    assert [each.split()[0] for each in _smaller("m", model, 5000, "")] == [
        "m-Q5_0-00001-of-00002.gguf",
        "m-Q4_K_M.gguf",
        "m-Q3_K_S.gguf",
    ]
    assert _smaller("m", model, 10, "") == []
    assert _smaller("m", Model.model_validate({"source": "hf://acme/none:Q8_0"}), 5000, "") == []
