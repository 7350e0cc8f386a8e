"""Images of programs from another source: microsoft/BitNet's own, named by its checkout."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from provision.cli.main import main
from provision.images.build.image import Built
from provision.images.build.layout import OciLayout
from tests.images.build.make import REPOSITORY
from tests.native.conftest import commit, git
from tests.testbed.docker import Engine

NAME = "bitnet-cpu-min"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our images in a repository and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    folder = tmp_path / "project"
    for part in ("images", "native"):
        shutil.copytree(REPOSITORY / part, folder / part)
    shutil.copy(REPOSITORY / "LICENSE", folder)
    commit(folder)
    return folder


def build(project: Path, engine: Engine, *words: str, name: str = NAME) -> OciLayout:
    assert main(["image", "build", name, "-C", str(project), "--builder", engine.url, "--no-load", *words]) == 0
    return OciLayout(project / "build" / "images" / name / "oci")


def of_programs(layout: OciLayout) -> dict[str, str]:
    prefix = "bitnet-provision."
    labels = {key.removeprefix(prefix): value for key, value in layout.config["config"]["Labels"].items()}
    return {key: labels.get(key, "") for key in ("profile", "source", "source-commit", "model-types")}


@pytest.mark.usefixtures("clang")
def test_an_image_of_bitnets_own_programs_says_so_and_is_the_same_every_time(
    project: Path, bitnet: Path, engine: Engine
) -> None:
    made = build(project, engine, "--source", str(bitnet))
    digest, config = made.manifest.digest, made.config
    bill = json.loads((project / f"build/images/{NAME}/sbom.spdx.json").read_text())
    with tarfile.open(made.blob(made.manifest.document["layers"][0]["digest"])) as content:
        inside = {name.removeprefix("./") for name in content.getnames()}

    revision = git(bitnet, "rev-parse", "HEAD")
    assert of_programs(made) == {
        "profile": "min",
        "source": "bitnet.cpp",
        "source-commit": revision,
        "model-types": "I2_S",
    }
    assert {"llama-server", "licenses/bitnet.cpp.txt", "licenses/llama.cpp.txt"} <= inside
    assert f"pkg:github/microsoft/BitNet@{revision}" in str(bill["packages"])
    shutil.rmtree(project / "build")
    again = build(project, engine, "--source", str(bitnet))
    assert (again.manifest.digest, again.config) == (digest, config)


@pytest.mark.slow
@pytest.mark.usefixtures("clang")
def test_kernels_that_are_asked_for_are_among_the_types_that_it_reads(
    project: Path, bitnet: Path, engine: Engine
) -> None:
    made = build(project, engine, "--source", str(bitnet), "--define", "BITNET_X86_TL2=ON")

    assert of_programs(made)["model-types"] == "I2_S TL2"


@pytest.mark.usefixtures("clang")
def test_an_image_may_name_its_source_at_a_commit_and_what_is_in_work_is_told(
    project: Path, bitnet: Path, engine: Engine
) -> None:
    recipe = project / "images/bitnet-cpp/image.toml"
    recipe.write_text(recipe.read_text().replace('source = "bitnet@', f'source = "{bitnet}"  # "'))
    (bitnet / "src/main.cpp").open("a").write("// in work\n")

    made = build(project, engine, name="bitnet-cpp")

    assert of_programs(made)["source-commit"] == git(bitnet, "rev-parse", "HEAD") + "-modified"


def test_a_profile_that_the_source_has_not_is_refused_before_anything_is_compiled(
    project: Path, bitnet: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["image", "build", "bitnet-cpu", "-C", str(project), "--builder", engine.url, "--source", str(bitnet)]

    assert main(words) == 2

    assert "bitnet.cpp has no profile dynamic" in capsys.readouterr().err


def test_upstreams_programs_say_which_types_they_read(smallest: Built) -> None:
    assert of_programs(smallest.layout) == {
        "profile": "min",
        "source": "llama.cpp",
        "source-commit": json.loads((REPOSITORY / "native/sources.json").read_text())["llama.cpp"]["commit"],
        "model-types": "TQ1_0 TQ2_0",
    }
