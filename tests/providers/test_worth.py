"""What a machine shows of itself, held against what was offered and what is needed."""

from __future__ import annotations

import ast
import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provision.agent.alone import program
from provision.contract.measured import First, Measured
from provision.providers.acceptance import Terms, faults
from provision.providers.gpus import gives, model
from tests.providers.vast_server import _driver

NOW = 1_800_000_000.0


FIRST: First = {"deployed": False, "clock": NOW + 2, "machine": "x86_64", "missing": []}


GOOD: Measured = {
    "features": ["avx", "avx2", "fma"],
    "memory": 64_000_000_000,
    "free": 55_000_000_000,
    "written": 400e6,
    "downloaded": 600e6,
    "download_fault": "",
    "gpus": {
        "cuda": 12.8,
        "gpus": [
            {
                "name": "NVIDIA GeForce RTX 4090",
                "memory": 25_250_000_000,
                "capability": 8.9,
                "usable": 24_700_000_000,
                "operations": 79e12,
                "bandwidth": 920e9,
                "fault": "",
            }
        ],
        "fault": "",
    },
}


TERMS = Terms(
    gpu="RTX 4090",
    gpus=1,
    vram=24_564_000_000,
    vram_needed=20_000_000_000,
    cuda=12.8,
    features=frozenset({"avx2", "fma"}),
    capability=8.6,
    free=30_000_000_000,
    written=100e6,
    down=800e6,
)


def judged(closed: tuple[int, ...] = (), clock: float = NOW, terms: Terms = TERMS, **changes: Any) -> list[str]:
    measured: Any = copy.deepcopy(GOOD)
    for name, value in changes.items():
        place = measured["gpus"]["gpus"][0] if name in measured["gpus"]["gpus"][0] else measured
        place[name] = value
    return [*faults(terms, {**FIRST, "clock": clock}, measured, closed, NOW)]


def test_a_machine_that_is_as_it_was_offered_has_no_fault() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clock": NOW + 86400}, "its clock is 86400 s ahead"),
        ({"clock": NOW - 90}, "its clock is 90 s behind"),
        ({"name": "NVIDIA GeForce RTX 3090"}, "its GPU is NVIDIA GeForce RTX 3090, and RTX 4090 was offered"),
        ({"memory": 12_000_000_000}, "NVIDIA GeForce RTX 4090 has 12.0 GB, and 24.6 GB were offered"),
        ({"capability": 7.5}, "has capability 7.5, and the engine is compiled for 8.6"),
        ({"usable": 18_000_000_000}, "18.0 GB of the 25.2 GB of NVIDIA GeForce RTX 4090 can be had"),
        ({"operations": 21e12}, "does a product of matrices with 21.0 TFLOP/s instead of 82.6"),
        ({"bandwidth": 300e9}, "moves 300 GB/s instead of 1008"),
        ({"fault": "it miscounts"}, "NVIDIA GeForce RTX 4090: it miscounts"),
        ({"gpus": {"cuda": 0.0, "gpus": [], "fault": "cuInit"}}, "its GPU's driver does not work (cuInit)"),
        ({"gpus": {**GOOD["gpus"], "cuda": 12.2}}, "its driver takes CUDA 12.2, and 12.8 was offered"),
        ({"gpus": {**GOOD["gpus"], "gpus": []}}, "it has 0 GPUs, and 1 were offered"),
        ({"features": ["avx"]}, "its processor lacks avx2, fma"),
        ({"free": 8_000_000_000}, "8.0 GB of its disk are free, and 30.0 GB are needed"),
        ({"written": 40e6}, "its disk writes 40 MB a second, and 100 MB are demanded"),
        ({"downloaded": 90e6}, "90 Mbit/s come in, and 800 were promised"),
        ({"downloaded": None, "download_fault": "timed out"}, "nothing comes in (timed out)"),
        ({"closed": (8000,)}, "port 8000 can't be reached from outside"),
    ],
)
def test_what_is_not_as_it_was_offered_is_named(changes: dict[str, Any], said: str) -> None:
    assert [fault for fault in judged(**changes) if said in fault], judged(**changes)


def test_what_a_machine_says_of_itself_moves_no_terminal() -> None:
    (said,) = judged(name="RTX 4090 \x1b[2J\n" + 500 * "x", fault="\x07it miscounts")
    assert said.isprintable()
    assert len(said) < 300


def test_a_file_that_is_not_there_says_nothing_of_the_machine() -> None:
    assert judged(downloaded=None, download_fault="HTTP Error 404: Not Found") == []


def test_how_fast_a_gpu_has_to_be_is_declared_or_not_known() -> None:
    slow: dict[str, Any] = {"operations": 40e12}
    assert judged(**slow) != []
    assert judged(terms=Terms(gpus=1, speed=0.4), **slow) == []
    assert judged(terms=Terms(gpus=1), name="NVIDIA Something New", operations=1e9, bandwidth=1e6) == []


@pytest.mark.parametrize(
    ("by_driver", "by_provider"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIE"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000Ada"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070S Ti"),
        ("Tesla V100-SXM2-16GB", "Tesla V100"),
        ("NVIDIA L40S", "L40S"),
    ],
)
def test_one_gpu_is_the_same_in_a_driver_s_words_and_a_provider_s(by_driver: str, by_provider: str) -> None:
    assert model(by_driver) == model(by_provider)
    assert gives(by_driver) is not None


@pytest.mark.parametrize(
    ("one", "another"),
    [("RTX 3070", "RTX 3070 Ti"), ("L40", "L40S"), ("RTX 3080", "RTX 3080 Laptop GPU"), ("A100", "A10")],
)
def test_two_gpus_are_told_apart(one: str, another: str) -> None:
    assert model(one) != model(another)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("none", ""),
        ("miscounts", "it miscounts: a product of matrices came out wrong"),
        ("forgets", "its memory forgets what was written there"),
        ("shared", ""),
        ("absent", "cuInit: CUDA_ERROR_NO_DEVICE (100)"),
    ],
)
def test_a_gpu_is_proven_by_what_its_driver_lets_it_do(fault: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(_driver())
    (tmp_path / "gpus").write_text(f"NVIDIA H200|24000000000|55|4300|12.8|{fault}\n")
    text = program("alone/cuda", call="import json; print(json.dumps(prove_gpus()))").replace(
        "_SECONDS = 0.3", "_SECONDS = 0.02"
    )
    environ = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "STAND_IN_GPUS": str(tmp_path / "gpus")}

    told = json.loads(subprocess.check_output([sys.executable, "-I", "-c", text], env=environ))

    if fault == "absent":
        assert (told["fault"], told["gpus"]) == (said, [])
        return
    (gpu,) = told["gpus"]
    assert (told["cuda"], gpu["name"], gpu["capability"], gpu["fault"]) == (12.8, "NVIDIA H200", 8.9, said)
    if not said:
        half = 12_000_000_000 if fault == "shared" else 24_000_000_000
        assert half - (1 << 30) < gpu["usable"] <= half
        assert 0 < gpu["operations"] <= 55e12  # what it does can't be faster than what it is asked to take


def test_a_driver_that_is_not_there_is_said() -> None:
    text = program("alone/cuda", call="import json; print(json.dumps(prove_gpus()))")
    text = text.replace("libcuda.so.1", "libcuda-of-nobody.so.1")

    told = json.loads(subprocess.check_output([sys.executable, "-I", "-c", text]))

    assert "libcuda-of-nobody" in told["fault"]


@pytest.mark.parametrize("modules", [("alone/measure", "alone/cuda"), ("alone/supply", "trust")])
def test_modules_that_are_sent_as_one_text_share_no_name(modules: tuple[str, ...]) -> None:
    names = [
        name.id if isinstance(name, ast.Name) else getattr(name, "name", "")
        for module in modules
        for statement in ast.parse(program(module)).body
        for name in (statement.targets if isinstance(statement, ast.Assign) else [statement])
    ]
    ours = [name for name in names if name]
    assert len(ours) == len(set(ours))
