"""A Docker Engine, and the images built with it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.images.build.buildah import BuildahBuilder
from provision.images.build.engine import DockerBuilder
from provision.images.build.image import Built
from tests.binaries import PROFILE
from tests.images.build.make import BASE, build_image
from tests.native.conftest import bitnet, clang, tools
from tests.testbed.docker import Engine
from tests.testbed.slots import Slot

__all__ = ["bitnet", "clang", "tools"]


@pytest.fixture(scope="session")
def engine(slot: Slot) -> Iterator[Engine]:
    """Empty but for the base."""
    engine = Engine(slot)
    try:
        engine.take_base(BASE)
        yield engine
    finally:
        engine.destroy()


@pytest.fixture(scope="session")
def builder(engine: Engine) -> DockerBuilder:
    return DockerBuilder(engine.client)


@pytest.fixture(scope="session")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> BuildahBuilder:
    """With storage of its own."""
    folder = tmp_path_factory.mktemp("buildah")
    return BuildahBuilder(("--storage-driver=overlay", f"--root={folder}/root", f"--runroot={folder}/run"))


@pytest.fixture(scope="session")
def buildah_with_base(
    engine: Engine, buildah: BuildahBuilder, tmp_path_factory: pytest.TempPathFactory
) -> BuildahBuilder:
    """It has the engine's base, layer by layer."""
    saved = tmp_path_factory.mktemp("base") / "base.tar"
    with saved.open("wb") as out:
        for part in engine.client.images.get(BASE).save(named=BASE):
            out.write(part)
    subprocess.run(
        [*buildah.command, "pull", "--quiet", f"docker-archive:{saved}"], check=True, stdout=subprocess.DEVNULL
    )
    saved.unlink()
    return buildah


@pytest.fixture(scope="session")
def smallest(builder: DockerBuilder, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return _loaded("bitnet-cpu-min", builder, tmp_path_factory.mktemp("min"))


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(PROFILE, id="with the programs of all tests"),
        pytest.param("dynamic", id="with its own", marks=pytest.mark.slow),
    ],
)
def runtime(request: pytest.FixtureRequest, builder: DockerBuilder, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return _loaded("bitnet-cpu", builder, tmp_path_factory.mktemp("cpu"), request.param)


def _loaded(name: str, builder: DockerBuilder, folder: Path, profile: str = "") -> Built:
    built = build_image(name, builder, folder, profile=profile)
    built.layout.save(folder / "load.tar", f"{name}:built")
    builder.load(folder / "load.tar")
    return built
