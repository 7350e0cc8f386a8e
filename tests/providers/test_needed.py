"""What a machine has to have because of the models and binaries of a project, besides what it declares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provision.engines import wheel
from provision.project import load
from provision.release import model_lock
from provision.release.model_lock import LockedFile, LockedModel, Shape
from provision.targets.needed import Needed, needed
from tests.bitnet.runtime.gguf_files import Gguf, Q

_DECLARED = """
[project]
name = "cres"

[services.llama]
preset = "bitnet-server"
port = 8081
{service}

[services.web]
command = ["python3", "-m", "http.server", "${{port}}"]
port = 8000

[targets.gpu]
provider = "vast"
path = "/workspace/cres"
[targets.gpu.needs]
gpu = ["RTX 4090"]
image = "app@sha256:{digest}"
{needs}
[targets.gpu.budget]
per_hour = 0.60
total = 25
until = "8h"
"""


def of(folder: Path, service: str, needs: str = "") -> Needed:
    (folder / "deploy.toml").write_text(_DECLARED.format(service=service, needs=needs, digest="0" * 64))
    loaded = load(folder, environ={}, target="gpu")
    return needed(loaded, loaded.project.targets["gpu"])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """32 layers with 4 kB for each token of the context."""
    file = Gguf("llama", Q.Q4_0, layers=32, width=4096, heads=32, kv_heads=8, context=8192)
    return file.write(tmp_path / "model.gguf")


_ON_GPU = 'binary = "/app/llama-server"\nmodel = "model.gguf"\nargs = ["--n-gpu-layers", "99", "--ctx-size", "100000"]'


def test_a_model_and_its_context_need_the_gpu_s_memory(tmp_path: Path, model: Path) -> None:
    found = of(tmp_path, _ON_GPU)

    cache = 32 * 100_000 * 2 * 8 * 2 * 128
    assert cache < found.needs.vram < 1.3 * cache
    assert "of each GPU's memory, for the models and their contexts" in found.added[0]
    assert found.needs.memory == 0


@pytest.mark.parametrize(
    ("needs", "vram"),
    [('vram = "48GB"', 48_000_000_000), ("gpus = 2", 7_000_000_000), ('vram = "8GB"', 15_000_000_000)],
)
def test_what_is_declared_counts_where_it_is_more(needs: str, vram: int, tmp_path: Path, model: Path) -> None:
    assert round(of(tmp_path, _ON_GPU, needs).needs.vram, -9) == vram


def test_copies_need_their_memory_each_and_what_a_service_declares_wins(tmp_path: Path, model: Path) -> None:
    one, two = of(tmp_path, _ON_GPU), of(tmp_path, f"{_ON_GPU}\nreplicas = 2")
    assert two.needs.vram == pytest.approx(2 * one.needs.vram, rel=0.01)
    assert of(tmp_path, f'{_ON_GPU}\nresources = {{ vram = "20GB" }}').needs.vram == 22_000_000_000


def test_on_the_processor_it_is_main_memory_and_its_features(tmp_path: Path, model: Path) -> None:
    found = of(tmp_path, 'engine = "wheel"\nmodel = "model.gguf"\nargs = ["-c", "100000"]')

    assert found.needs.vram == 0
    assert found.needs.memory > 32 * 100_000 * 4096
    assert found.needs.features == frozenset(wheel().wheels["x86_64"].features)
    assert any("a processor with avx, avx2" in added for added in found.added)


def test_a_build_says_what_it_was_compiled_for(tmp_path: Path, model: Path) -> None:
    (tmp_path / "build/bin").mkdir(parents=True)
    (tmp_path / "build/bin/llama-server").write_text("")
    record: dict[str, Any] = {"cpu": {"features": ["avx512f"]}, "cuda": {"version": "12.9.86"}}
    record["flags"] = {"CMAKE_CUDA_ARCHITECTURES": "86;89-real"}
    (tmp_path / "build/build.json").write_text(json.dumps(record))

    found = of(tmp_path, 'engine = "build"\nmodel = "model.gguf"')

    assert (found.needs.features, found.needs.cuda, found.needs.capability) == (frozenset({"avx512f"}), 12.9, 8.6)
    assert "a GPU of capability 8.6 or newer, for which the engine is compiled" in found.added


def test_the_disk_holds_two_releases_with_their_models(tmp_path: Path, model: Path) -> None:
    with model.open("r+b") as file:
        file.truncate(50_000_000_000)  # with a hole: no disk here is asked for that much

    found = of(tmp_path, _ON_GPU, 'disk = "60GB"')

    assert found.disk == found.needs.disk == found.room == 103_000_000_000
    assert of(tmp_path, _ON_GPU, 'disk = "200GB"').disk == 200_000_000_000


def test_a_model_that_is_not_here_yet_adds_nothing(tmp_path: Path) -> None:
    found = of(tmp_path, 'binary = "/app/llama-server"\nmodel = "/workspace/models/x.gguf"')
    assert (found.needs.vram, found.needs.memory, found.disk, found.added) == (0, 0, 40_000_000_000, ())


def test_a_model_that_hosts_fetch_takes_the_room_that_its_lock_says(tmp_path: Path) -> None:
    source = "https://models.example.net/big.gguf"
    file = LockedFile(source, 30_000_000_000, "0" * 64, ("Q4_0",))
    shape = Shape(file.bytes, {"Q4_0": 1}, (file.bytes,), 0, 8192, 4096, 32_000, 16_384, 32, (2048,))
    model_lock.write(tmp_path, {"big": LockedModel(source, "", "llama", (file,), shape)})

    found = of(
        tmp_path,
        f'binary = "/app/llama-server"\nmodel = "big"\n[models.big]\nsource = "{source}"\nsha256 = "{64 * "0"}"',
    )

    assert found.room == 63_000_000_000
