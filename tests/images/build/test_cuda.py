"""bitnet-cuda for real, on a machine without a GPU: it boots, and the CPU answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from provision.cli.parts import gather, image_cache
from provision.images.build import bake
from provision.images.build.engine import DockerBuilder
from provision.images.build.image import build
from provision.images.smoke.pull import load
from provision.images.smoke.run import Wanted, smoke
from provision.native.model import write_demo_model
from tests.images.build.make import BASE, COMMIT, REPOSITORY
from tests.native.conftest import Told
from tests.testbed.docker import Engine

# One generation of GPUs and no flash attention: an hour on two cores instead of many, where nothing is in the cache.
QUICK = {"CMAKE_CUDA_ARCHITECTURES": "86", "GGML_CUDA_FA": "OFF"}


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_the_image_for_gpus_answers_on_the_cpu_where_no_driver_is(
    engine: Engine, builder: DockerBuilder, tmp_path: Path
) -> None:
    recipe = replace(bake.find(REPOSITORY, "bitnet-cuda"), context=tmp_path / "image/context")
    built = build(
        recipe,
        gather(recipe, "linux/amd64", REPOSITORY, Told(), define=QUICK),
        builder,
        root=REPOSITORY,
        base=BASE,
        revision=COMMIT,
        version="1",
        platform="linux/amd64",
        cache=image_cache() / "layers",
        on_event=Told(),
    )
    write_demo_model(tmp_path / "demo.gguf")
    image = load(engine.client, built.layout, recipe.name)

    digest = built.layout.manifest.digest
    wanted = Wanted(drain_seconds=120)
    report = smoke(engine.client, image, recipe.name, digest, tmp_path / "demo.gguf", wanted, Told())

    assert report.failed is None, report
    native = json.loads(built.record.read_text())["native"]
    assert "libggml-cuda.so" in native["libraries"]
    assert native["compiler"]["nvcc"].startswith("nvidia-cuda-nvcc 13.0")
    libraries = engine.client.containers.run(image, ["/opt/bitnet/bin/libggml-cuda.so"], entrypoint="ldd", remove=True)
    missing = [line.split()[0] for line in libraries.decode().splitlines() if "not found" in line]
    assert missing == ["libcuda.so.1"]  # the driver's, and nothing else
