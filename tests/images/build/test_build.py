"""Images of images/, built by a real engine and by buildah."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from provision.cli.main import main
from provision.errors import DeployError, UsageError
from provision.images.build import bake
from provision.images.build.buildah import BuildahBuilder
from provision.images.build.context import Parts
from provision.images.build.engine import DockerBuilder, connect
from provision.images.build.image import Built, build, revision
from tests.images.build.make import BASE, COMMIT, REPOSITORY, build_image, own_layers
from tests.native.conftest import Told, commit, git


def test_the_same_commit_gives_the_same_digest_whichever_builder_made_it(
    smallest: Built, builder: DockerBuilder, buildah: BuildahBuilder, tmp_path: Path
) -> None:
    os.umask(before := os.umask(0o077))
    os.umask(0o077)  # another person's machine
    try:
        again = build_image("bitnet-cpu-min", builder, tmp_path / "again")
        other = build_image("bitnet-cpu-min", buildah, tmp_path / "other")
    finally:
        os.umask(before)

    digest = smallest.layout.manifest.digest
    assert again.layout.manifest.digest == digest
    assert other.layout.manifest.digest == digest
    assert again.sbom.read_bytes() == smallest.sbom.read_bytes()


def test_a_change_of_our_code_compiles_nothing_and_is_one_small_layer(
    runtime: Built, builder: DockerBuilder, tmp_path: Path
) -> None:
    for part in ("images", "bitnet"):
        shutil.copytree(REPOSITORY / part, tmp_path / part)
    shutil.copy(REPOSITORY / "LICENSE", tmp_path)
    with (tmp_path / "bitnet" / "cli.py").open("a") as code:
        code.write("# one more line\n")
    told = Told()

    profile = runtime.recipe.profile
    changed = build_image("bitnet-cpu", builder, tmp_path / "out", root=tmp_path, profile=profile, told=told)

    before, after = (built.layout.manifest.document["layers"] for built in (runtime, changed))
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    assert after[-1]["size"] < 500_000
    assert "compile" not in told.phases()


def test_the_smallest_image_holds_a_server_a_probe_and_licences_and_nothing_else(smallest: Built) -> None:
    (layer,) = own_layers(smallest)

    programs = {name for name, entry in layer.items() if entry.isreg() and not name.startswith("licenses/")}
    assert programs == {"llama-server", "probe", "build.json", "etc/passwd", "etc/group"}
    assert {"licenses/llama.cpp.txt", "licenses/cpp-httplib.txt", "licenses/stb.txt"} <= layer.keys()
    assert layer["tmp"].mode == 0o1777


def test_no_layer_of_ours_has_times_owners_bytecode_or_tools(smallest: Built, runtime: Built) -> None:
    layers = [*own_layers(smallest), *own_layers(runtime)]

    entries = [entry for layer in layers for entry in layer.values()]
    assert {entry.mtime for entry in entries} == {1_700_000_000}
    assert {(entry.uid, entry.gid, entry.uname) for entry in entries} == {(0, 0, "")}
    names = {name for layer in layers for name in layer}
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]
    assert not names & {f"usr/bin/{tool}" for tool in ("gcc", "cmake", "pip", "git", "curl")}
    assert not [name for name in names if Path(name).name in (".env", ".git", "config.json", "evidence.key")]


def test_an_image_says_what_it_is_and_who_may_run_it(smallest: Built, runtime: Built) -> None:
    for built, health in ((smallest, "/probe"), (runtime, "/usr/local/bin/probe")):
        config = built.layout.config["config"]
        assert config["User"] == "65532:65532"
        assert config["Healthcheck"]["Test"] == ["CMD", health, "/health"]
        assert config["Labels"]["org.opencontainers.image.revision"] == "c" * 40
        assert config["Labels"]["org.opencontainers.image.version"] == "1.2.3"
        assert built.layout.config["created"] == "2023-11-14T22:13:20Z"
    assert runtime.layout.config["config"]["Labels"]["org.opencontainers.image.base.name"] == BASE


def test_the_image_for_gpus_has_cuda_beside_its_programs_and_no_driver(builder: DockerBuilder, tmp_path: Path) -> None:
    """Of stand-ins for what is compiled and downloaded; test_cuda.py builds the real one."""
    native = tmp_path / "native"
    (native / "bin").mkdir(parents=True)
    for name in ("llama-server", "libggml-cuda.so"):
        (native / "bin" / name).write_text(name)
    (native / "build.json").write_text("{}")
    library, licence = tmp_path / "libcublas.so.13", tmp_path / "licence"
    library.write_text("cuBLAS")
    licence.write_text("NVIDIA's")
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "psutil.py").touch()
    parts = Parts(native, None, packages, [("nvidia-cublas.txt", licence)], [library], {"nvidia-cublas": "13.0.2.14"})
    recipe = replace(bake.find(REPOSITORY, "bitnet-cuda"), context=tmp_path / "image/context")

    built = build(
        recipe,
        parts,
        builder,
        root=REPOSITORY,
        base=BASE,
        revision=COMMIT,
        version="1",
        platform="linux/amd64",
        cache=tmp_path / "layers",
        on_event=Told(),
    )

    libraries, programs, *_ = own_layers(built)
    assert {name for name, entry in libraries.items() if entry.isreg()} == {"opt/bitnet/bin/libcublas.so.13"}
    assert {"opt/bitnet/bin/libggml-cuda.so", "licenses/nvidia-cublas.txt"} <= programs.keys()
    assert not [name for layer in own_layers(built) for name in layer if "libcuda.so" in name]
    config = built.layout.config["config"]
    assert {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"} <= set(config["Env"])
    bill = json.loads(built.sbom.read_text())
    assert "pkg:pypi/nvidia-cublas@13.0.2.14" in str(bill["packages"])
    assert [entry["licenseId"] for entry in bill["hasExtractedLicensingInfos"]] == ["LicenseRef-NVIDIA-CUDA-Toolkit"]


def test_the_record_names_the_very_programs_that_are_inside(smallest: Built) -> None:
    record = json.loads(smallest.record.read_text())
    digest = smallest.layout.manifest.document["layers"][0]["digest"]
    with tarfile.open(smallest.layout.blob(digest)) as content:
        server = content.extractfile("llama-server")
        assert server is not None
        inside = hashlib.sha256(server.read()).hexdigest()

    assert record["digest"] == smallest.layout.manifest.digest
    assert record["native"]["binaries"]["llama-server"]["sha256"] == inside
    assert record["native"]["source"]["sha256"] and record["native"]["compiler"]["cxx"]


def test_the_bill_of_materials_names_programs_packages_and_the_base(runtime: Built) -> None:
    document = json.loads(runtime.sbom.read_text())

    found = {
        reference["referenceLocator"].partition("@")[0]
        for package in document["packages"]
        for reference in package.get("externalRefs", [])
    }
    assert {"pkg:github/ggml-org/llama.cpp", "pkg:pypi/numpy", "pkg:deb/debian/libc6"} <= found
    identities = [package["SPDXID"] for package in document["packages"]]
    assert len(identities) == len(set(identities))
    assert runtime.layout.manifest.digest.removeprefix("sha256:") in document["documentNamespace"]


def test_sizes_stay_within_their_goals(smallest: Built, runtime: Built) -> None:
    assert smallest.layout.bytes_ <= 8_000_000
    assert runtime.layout.bytes_ <= 90_000_000


def test_an_engine_calls_the_image_by_the_digest_of_the_config_that_was_written(
    smallest: Built, builder: DockerBuilder
) -> None:
    assert builder.client.images.get("bitnet-cpu-min:built").id == smallest.layout.config_digest


def test_a_build_that_fails_says_what_the_builder_said(builder: DockerBuilder, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY nothing-of-this-name /\n")

    with pytest.raises(DeployError, match="the build failed") as failure:
        builder.build(tmp_path, tmp_path / "out.tar", args={}, platform="linux/amd64", epoch=0, on_event=Told())

    assert "nothing-of-this-name" in failure.value.why


def test_a_base_that_is_nowhere_is_named(builder: DockerBuilder, tmp_path: Path) -> None:
    args = {"BASE": "127.0.0.1:1/nowhere@sha256:" + "0" * 64}

    with pytest.raises(DeployError, match=r"127\.0\.0\.1:1/nowhere"):
        builder.build(tmp_path, tmp_path / "out.tar", args=args, platform="linux/amd64", epoch=0, on_event=Told())


def test_programs_of_another_platform_are_refused(builder: DockerBuilder, tmp_path: Path) -> None:
    recipe = replace(bake.find(REPOSITORY, "bitnet-cpu-min"), name="arm")
    assert "linux/arm64" not in recipe.platforms

    with pytest.raises(UsageError, match="arm is not for linux/arm64"):
        build(
            recipe,
            Parts(None, None, None, []),
            builder,
            root=REPOSITORY,
            base="",
            revision=COMMIT,
            version="1",
            platform="linux/arm64",
            cache=tmp_path,
            on_event=Told(),
        )


def test_a_platform_that_this_machine_cannot_compile_for_is_refused_before_anything_is_compiled(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for part in ("images", "native"):
        shutil.copytree(REPOSITORY / part, tmp_path / part)
    recipe = tmp_path / "images/bitnet-cpu-min/image.toml"
    recipe.write_text(recipe.read_text().replace('["linux/amd64"]', '["linux/amd64", "linux/arm64", "linux/riscv64"]'))
    commit(tmp_path)
    other = {"x86_64": "linux/arm64"}.get(os.uname().machine, "linux/amd64")

    codes = [
        main(["image", "build", "bitnet-cpu-min", "-C", str(tmp_path), "--platform", name])
        for name in (other, "linux/riscv64", "linux/s390x")
    ]

    said = capsys.readouterr().err
    assert codes == [2, 2, 2]
    assert f"this machine compiles for {os.uname().machine}, and {other} was asked for" in said
    assert "and linux/riscv64 was asked for" in said
    assert "bitnet-cpu-min is not for linux/s390x" in said
    assert not (tmp_path / "build").exists()


def test_where_no_engine_is_the_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no Docker Engine answers at unix://{tmp_path}/none.sock"):
        connect(f"unix://{tmp_path}/none.sock")


def test_a_revision_shows_changes_and_hides_the_token_of_its_address(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "lock.json").write_text("{}")
    commit(tmp_path)
    git(tmp_path, "remote", "add", "origin", "https://user:secret@example.net/app.git")

    clean = revision(tmp_path)
    (tmp_path / "images" / "lock.json").write_text("{ }")
    changed = revision(tmp_path)

    assert clean.source == "https://example.net/app.git"
    assert changed.commit == f"{clean.commit}-dirty"
    with pytest.raises(UsageError, match="no git checkout"):
        revision(Path("/"))
