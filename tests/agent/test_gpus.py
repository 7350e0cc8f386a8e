"""What drivers' own programs say, as GPUs. Stand-ins print what the real ones do: no such machine is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provision.agent import gpus

_GIB = 1 << 30
_TWO = """NVIDIA RTX 4090, GPU-11111111-aaaa, 24564, 24112, 550.54, [N/A]
NVIDIA RTX 4090, GPU-22222222-bbbb, 24564, 3, 550.54, [N/A]
"""
_CUT = """NVIDIA A100-SXM4-40GB, GPU-cccccccc-1, 40960, 40900, 550.54, {}
NVIDIA A100-SXM4-40GB, GPU-dddddddd-2, 40960, 40900, 550.54, Disabled
"""
_LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-cccccccc-1)
  MIG 3g.20gb     Device  0: (UUID: MIG-eeeeeeee-3)
  MIG 1g.5gb      Device  1: (UUID: MIG-GPU-cccccccc-1/9/0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-dddddddd-2)
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for stand-ins; nothing else is found."""
    monkeypatch.setattr(gpus, "search_path", lambda: str(tmp_path))
    return tmp_path


def stand_in(folder: Path, name: str, **answers: str) -> None:
    """A program that prints an answer for the first word that it is given, and fails for others."""
    cases = "".join(f"{word.replace('_', '-')}*) cat <<'END'\n{said}\nEND\n;;\n" for word, said in answers.items())
    path = folder / name
    path.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}*) echo "not known: $1" >&2; exit 2 ;;\nesac\n')
    path.chmod(0o755)


def test_every_gpu_is_listed_with_its_memory(programs: Path) -> None:
    stand_in(programs, "nvidia-smi", __query=_TWO)

    first, second = gpus.found()

    assert (first["name"], first["uuid"], first["driver"]) == ("NVIDIA RTX 4090", "GPU-11111111-aaaa", "550.54")
    assert (first["memory_total"], second["memory_free"]) == (24564 << 20, 3 << 20)


def test_a_driver_that_knows_nothing_of_parts_is_asked_without(programs: Path) -> None:
    path = programs / "nvidia-smi"
    said = "NVIDIA K80, GPU-33333333, 11441, 11400, 418.40"
    path.write_text(f'#!/bin/sh\ncase "$1" in *mig.mode*) exit 2 ;; esac\necho "{said}"\n')
    path.chmod(0o755)

    assert [gpu["uuid"] for gpu in gpus.found()] == ["GPU-33333333"]


def test_one_that_is_cut_is_its_parts(programs: Path) -> None:
    stand_in(programs, "nvidia-smi", __query=_CUT.format("Enabled"), _L=_LISTED)

    found = gpus.found()

    assert [gpu["uuid"] for gpu in found] == ["MIG-eeeeeeee-3", "MIG-GPU-cccccccc-1/9/0", "GPU-dddddddd-2"]
    assert [gpu.get("part_of", "") for gpu in found] == ["GPU-cccccccc-1", "GPU-cccccccc-1", ""]
    assert [gpu["memory_total"] for gpu in found[:2]] == [20 * _GIB, 5 * _GIB]
    assert found[0]["name"] == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"


def test_one_that_is_cut_into_nothing_runs_nothing(programs: Path) -> None:
    stand_in(programs, "nvidia-smi", __query=_CUT.format("Enabled"), _L=_LISTED.replace("MIG", "mig"))

    assert [gpu["uuid"] for gpu in gpus.found()] == ["GPU-dddddddd-2"]


def test_one_that_could_be_cut_and_is_not_is_whole(programs: Path) -> None:
    stand_in(programs, "nvidia-smi", __query=_CUT.format("Disabled"))

    assert [gpu["uuid"] for gpu in gpus.found()] == ["GPU-cccccccc-1", "GPU-dddddddd-2"]


def test_amds_are_called_as_their_runtime_calls_them(programs: Path) -> None:
    card = {
        "Unique ID": "0x1f9de0957d137942",
        "VRAM Total Memory (B)": str(64 * _GIB),
        "VRAM Total Used Memory (B)": str(_GIB),
        "Card Series": "AMD Instinct MI250X",
    }
    of_the_processor = {**card, "Unique ID": "N/A"}
    cards = {"card10": {**card, "Unique ID": "0x9246"}, "card2": card, "card0": of_the_processor, "system": {}}
    stand_in(programs, "rocm-smi", __showproductname=json.dumps(cards))

    found = gpus.found()

    assert [gpu["uuid"] for gpu in found] == ["GPU-1f9de0957d137942", "GPU-0000000000009246"]
    assert (found[0]["name"], found[0]["memory_free"]) == ("AMD Instinct MI250X", 63 * _GIB)
    assert found[0].get("vendor") == "amd"


@pytest.mark.parametrize("wrapped", [False, True])
def test_amds_newer_program_says_the_same(programs: Path, *, wrapped: bool) -> None:
    asic = {"market_name": "AMD Instinct MI300X", "asic_serial": "0x1F9DE0957D137942"}
    memory = {"total_vram": {"value": 1024, "unit": "MB"}, "used_vram": {"value": 24, "unit": "MB"}}
    both = [[{"gpu": 0, "asic": asic}], [{"gpu": 0, "mem_usage": memory}]]
    static, metric = (json.dumps({"gpu_data": each} if wrapped else each) for each in both)
    stand_in(programs, "amd-smi", static=static, metric=metric)

    (found,) = gpus.found()

    assert (found["uuid"], found["name"]) == ("GPU-1f9de0957d137942", "AMD Instinct MI300X")
    assert (found["memory_total"], found["memory_free"]) == (1024 << 20, 1000 << 20)


@pytest.mark.parametrize(
    "said", ["", "No devices were found", "WARNING: AMD GPU device(s) is/are in a low-power state"]
)
def test_a_driver_that_finds_none_has_none(programs: Path, said: str) -> None:
    stand_in(programs, "nvidia-smi", __query=said)
    stand_in(programs, "rocm-smi", __showproductname=said)
    stand_in(programs, "amd-smi", static=said, metric=said)

    assert gpus.found() == []


def test_a_program_that_fails_or_is_not_there_has_none(programs: Path) -> None:
    stand_in(programs, "nvidia-smi")

    assert gpus.found() == []
