"""Builds are found, understood without running them, and the best one is chosen with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitnet.binaries import CLI, SERVER, Binary, find
from bitnet.choice import choose
from bitnet.errors import BinaryNotFound, ModelUnusable
from bitnet.machine import Cpu, Gpus, GpuState
from bitnet.machine.gpu import Gpu
from bitnet.model import ModelFacts, read_model
from tests.bitnet.runtime.builds import BITNET_CPP, CUDA, UPSTREAM, build, needing, program
from tests.bitnet.runtime.gguf_files import Gguf, Q, with_type_id

AVX2 = Cpu(architecture="x86_64", features=frozenset({"avx2", "fma", "f16c"}), logical=4, physical=4, quota=None)
NO_GPU = Gpus(GpuState.NO_DRIVER)
ONE_GPU = Gpus(GpuState.PRESENT, (Gpu(0, "GPU-0", "H", 80 << 30, 80 << 30),))


@pytest.fixture
def ternary(tmp_path: Path) -> ModelFacts:
    return read_model(Gguf().write(tmp_path / "tq2.gguf"))


@pytest.fixture
def dense(tmp_path: Path) -> ModelFacts:
    return read_model(Gguf(architecture="llama", kind=Q.Q8_0).write(tmp_path / "q8.gguf"))


@pytest.fixture
def i2s(tmp_path: Path) -> ModelFacts:
    path = Gguf(architecture="bitnet-b1.58", kind=Q.Q8_0).write(tmp_path / "i2s.gguf")
    for layer in range(2):
        with_type_id(path, f"blk.{layer}.ffn_up.weight", 36)
    return read_model(path)


class TestFinding:
    @pytest.mark.parametrize(
        "place", ["bin/llama-cli", "bin/Release/llama-cli.exe", "Release/llama-cli.exe", "llama-cli"]
    )
    def test_every_place_that_cmake_uses_is_looked_at(self, tmp_path: Path, place: str) -> None:
        path = program(tmp_path / place)

        assert [binary.path for binary in find(tmp_path, CLI)] == [path]

    def test_variants_come_after_the_build_folder_itself_by_name(self, tmp_path: Path) -> None:
        build(tmp_path)
        build(tmp_path / "portable")
        build(tmp_path / "cuda")

        assert [binary.variant for binary in find(tmp_path, SERVER)] == ["default", "cuda", "portable"]

    def test_a_missing_binary_names_the_paths_tried_and_the_build_command(self, tmp_path: Path) -> None:
        with pytest.raises(BinaryNotFound) as caught:
            find(tmp_path / "nowhere", CLI)

        assert f"{tmp_path}/nowhere/bin/llama-cli" in caught.value.why
        assert caught.value.next_step == "deploy native build"

    def test_a_file_that_may_not_be_run_is_said_to_be_so(self, tmp_path: Path) -> None:
        path = program(tmp_path / "bin/llama-cli")
        path.chmod(0o644)

        with pytest.raises(BinaryNotFound, match="not executable") as caught:
            find(tmp_path, CLI)
        assert caught.value.next_step == f"chmod +x {path}"


class TestUnderstanding:
    def only(self, root: Path) -> Binary:
        (binary,) = find(root, CLI)
        return binary

    def test_upstream_reads_ternary_types_but_not_those_of_bitnet_cpp(self, tmp_path: Path) -> None:
        binary = self.only(build(tmp_path, UPSTREAM))

        assert binary.bitnet_cpp is False
        assert (binary.reads_type("TQ2_0"), binary.reads_type("Q4_K"), binary.reads_type("I2_S")) == (True, True, False)
        assert (binary.reads_architecture("bitnet"), binary.reads_architecture("bitnet-b1.58")) == (True, False)

    def test_bitnet_cpp_is_recognised(self, tmp_path: Path) -> None:
        binary = self.only(build(tmp_path, BITNET_CPP))

        assert (binary.bitnet_cpp, binary.reads_type("I2_S")) == (True, True)
        assert binary.as_dict()["bitnet_cpp"] is True

    def test_of_a_wrapper_script_nothing_is_claimed(self, tmp_path: Path) -> None:
        binary = self.only(build(tmp_path, ()))

        assert binary.bitnet_cpp is None
        assert (binary.reads_type("I2_S"), binary.reads_architecture("any")) == (None, None)

    def test_of_a_type_newer_than_our_list_nothing_is_claimed(self, tmp_path: Path) -> None:
        assert self.only(build(tmp_path)).reads_type("type 250") is None

    def test_what_shared_libraries_hold_counts_too(self, tmp_path: Path) -> None:
        build(tmp_path, ())
        (tmp_path / "bin/libggml-base.so").write_bytes(b"f32\0q8_0\0i2_s\0")
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib/libggml-cuda.so").write_bytes(b"x")
        (tmp_path / "lib/libother.so").write_bytes(b"--single-turn\0")
        (tmp_path / "lib/libllama-empty.so").touch()
        binary = self.only(tmp_path)

        assert (binary.bitnet_cpp, binary.cuda, binary.has_option("--single-turn")) == (True, True, False)

    def test_a_rebuilt_program_is_looked_at_again(self, tmp_path: Path) -> None:
        assert self.only(build(tmp_path, UPSTREAM)).reads_type("I2_S") is False
        assert self.only(build(tmp_path, BITNET_CPP)).reads_type("I2_S") is True

    def test_build_json_tells_source_profile_and_features(self, tmp_path: Path) -> None:
        source = {"name": "llama.cpp", "version": "b1", "sha256": "00"}
        facts = needing("avx2", "fma", architecture="x86_64", profile="native")
        binary = self.only(build(tmp_path, source=source, **facts))

        assert (binary.source, binary.profile, binary.architecture) == ("llama.cpp b1", "native", "x86_64")
        assert binary.features == {"avx2", "fma"}

    @pytest.mark.parametrize("text", ["{", "[]", '{"cpu": "avx2"}', '{"cpu": {"features": "avx2"}}'])
    def test_a_build_json_that_makes_no_sense_is_no_reason_to_fail(self, tmp_path: Path, text: str) -> None:
        build(tmp_path)
        (tmp_path / "build.json").write_text(text)

        assert self.only(tmp_path).features == frozenset()

    def test_the_version_is_what_the_program_says(self, tmp_path: Path) -> None:
        assert self.only(build(tmp_path)).version() == "7 (abc)"

    @pytest.mark.parametrize(("script", "said"), [("exit 3", "unknown: exit status 3"), ("echo hi", "unknown: exit")])
    def test_a_program_without_a_version_is_unknown(self, tmp_path: Path, script: str, said: str) -> None:
        assert said in self.only(build(tmp_path, script=script)).version()

    def test_a_program_that_cannot_start_is_unknown(self, tmp_path: Path) -> None:
        binary = self.only(build(tmp_path))
        binary.path.write_bytes(b"\x7fELF")

        assert "unknown: " in binary.version()


class TestChoosing:
    def test_the_only_build_is_taken(self, tmp_path: Path, ternary: ModelFacts) -> None:
        choice = choose(find(build(tmp_path / "b"), CLI), AVX2, NO_GPU, ternary)

        assert (choice.why, choice.rejected) == ("the only build", ())
        assert choice.as_dict()["variant"] == "default"

    def test_a_build_for_another_processor_is_out(self, tmp_path: Path) -> None:
        build(tmp_path / "b", **needing("avx2", "avx512f"))
        build(tmp_path / "b/portable", **needing("avx2"))
        choice = choose(find(tmp_path / "b", CLI), AVX2, NO_GPU)

        assert choice.binary.variant == "portable"
        assert choice.rejected[0][1] == "needs avx512f, which this processor lacks"

    def test_a_build_for_another_architecture_is_out(self, tmp_path: Path) -> None:
        with pytest.raises(BinaryNotFound) as caught:
            choose(find(build(tmp_path / "b", **needing(architecture="aarch64")), CLI), AVX2, NO_GPU)
        assert "is for aarch64, and this processor is x86_64" in caught.value.why

    def test_where_the_processor_is_unknown_every_build_gets_its_chance(self, tmp_path: Path) -> None:
        unknown = Cpu(architecture="x86_64", features=frozenset(), logical=1, physical=1, quota=None)
        choice = choose(find(build(tmp_path / "b", **needing("avx2")), CLI), unknown, NO_GPU)

        assert choice.binary.variant == "default"

    def test_no_build_for_this_processor_is_an_error_with_each_reason(self, tmp_path: Path) -> None:
        with pytest.raises(BinaryNotFound, match="no build runs on this processor") as caught:
            choose(find(build(tmp_path / "b", **needing("amx_tile")), CLI), AVX2, NO_GPU)
        assert "needs amx_tile" in caught.value.why

    def test_the_build_for_most_of_this_processor_wins(self, tmp_path: Path, ternary: ModelFacts) -> None:
        build(tmp_path / "b")
        build(tmp_path / "b/a-plain", **needing("avx2"))
        build(tmp_path / "b/native", **needing("avx2", "fma", profile="native"))
        choice = choose(find(tmp_path / "b", CLI), AVX2, NO_GPU, ternary)

        assert choice.binary.variant == "native"
        assert "most of this processor's features (profile native)" in choice.why
        assert {why for _, why in choice.rejected} == {"another gains more"}

    def test_cuda_wins_where_the_model_can_use_the_gpu(self, tmp_path: Path, dense: ModelFacts) -> None:
        build(tmp_path / "b", **needing("avx2"))
        build(tmp_path / "b/cuda", UPSTREAM + CUDA)
        found = find(tmp_path / "b", CLI)

        assert choose(found, AVX2, ONE_GPU, dense).binary.variant == "cuda"
        assert "GPU" in choose(found, AVX2, ONE_GPU, dense).why
        assert choose(found, AVX2, NO_GPU, dense).binary.variant == "default"

    def test_a_ternary_model_gains_nothing_from_cuda(self, tmp_path: Path, ternary: ModelFacts) -> None:
        build(tmp_path / "b")
        build(tmp_path / "b/cuda", UPSTREAM + CUDA)
        choice = choose(find(tmp_path / "b", CLI), AVX2, ONE_GPU, ternary)

        assert (choice.binary.variant, choice.why) == ("default", "first in the build folder")

    def test_a_model_of_bitnet_cpp_goes_to_the_build_that_reads_it(self, tmp_path: Path, i2s: ModelFacts) -> None:
        build(tmp_path / "b")
        build(tmp_path / "b/bitnet-cpp", BITNET_CPP)
        choice = choose(find(tmp_path / "b", CLI), AVX2, NO_GPU, i2s)

        assert choice.binary.variant == "bitnet-cpp"
        assert choice.why == "it reads the model's tensor types"
        assert choice.rejected[0][1] == "cannot read tensors of type I2_S"

    def test_a_model_that_no_build_reads_is_refused_with_the_reason(self, tmp_path: Path, i2s: ModelFacts) -> None:
        with pytest.raises(ModelUnusable, match="no binary here reads this model") as caught:
            choose(find(build(tmp_path / "b"), CLI), AVX2, NO_GPU, i2s)

        assert "I2_S" in caught.value.why
        assert "microsoft/BitNet" in caught.value.next_step

    def test_an_architecture_that_no_build_knows_is_refused(self, tmp_path: Path) -> None:
        facts = read_model(Gguf(architecture="newest").write(tmp_path / "m.gguf"))
        with pytest.raises(ModelUnusable) as caught:
            choose(find(build(tmp_path / "b"), CLI), AVX2, NO_GPU, facts)

        assert "'newest'" in caught.value.why
        assert "newer llama.cpp" in caught.value.next_step
