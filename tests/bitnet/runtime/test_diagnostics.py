"""One report on builds, model and machine; no probe can hang it or take it down."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from bitnet import BitNetRuntime, diagnostics, probes, report
from bitnet.machine import Cpu, Gpu, Gpus, GpuState, Memory
from bitnet.probes import Finding, Health, run_probes
from tests.bitnet.runtime.builds import CUDA, UPSTREAM, build
from tests.bitnet.runtime.gguf_files import Gguf, Q, with_type_id

GIB = 1 << 30


class TestProbes:
    def test_one_that_hangs_is_left_behind_at_the_deadline(self) -> None:
        release = threading.Event()
        began = time.monotonic()
        results = run_probes({"hangs": lambda: Finding(release.wait()), "well": lambda: Finding(1)}, seconds=0.2)
        release.set()

        assert time.monotonic() - began < 2
        assert results["hangs"].health is Health.TIMED_OUT
        assert (results["well"].health, results["well"].facts) == (Health.OK, 1)

    def test_one_that_fails_does_not_take_the_others_down(self) -> None:
        def broken() -> Finding:
            raise OSError("no such device")

        results = run_probes({"broken": broken, "well": lambda: Finding(1)}, seconds=5)

        assert (results["broken"].health, results["broken"].problem) == (Health.FAILED, "OSError: no such device")
        assert results["well"].as_dict()["health"] == "ok"

    def test_they_run_side_by_side(self) -> None:
        def slow() -> Finding:
            time.sleep(0.3)
            return Finding(None)

        began = time.monotonic()
        run_probes({str(number): slow for number in range(8)}, seconds=5)

        assert time.monotonic() - began < 1.5

    def test_answers_that_trickle_in_do_not_move_the_deadline(self) -> None:
        def after(seconds: float) -> Finding:
            time.sleep(seconds)
            return Finding(None)

        results = run_probes({str(tenths): partial(after, tenths / 10) for tenths in (1, 3, 5, 7)}, seconds=0.4)

        assert [result.health for result in results.values()] == [*[Health.OK] * 2, *[Health.TIMED_OUT] * 2]

    def test_a_full_disk_is_a_concern(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = type("Usage", (), {"total": 10 * GIB, "free": GIB // 2})
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)

        assert probes.disk(tmp_path).concern == f"{tmp_path}: only 512 MiB are free"

    def test_the_disk_of_a_folder_to_come_is_that_of_its_parent(self, tmp_path: Path) -> None:
        assert probes.disk(tmp_path / "a/b").facts["path"] == str(tmp_path)  # type: ignore[index]

    @pytest.mark.parametrize(
        ("architecture", "features", "slow"),
        [
            ("x86_64", {"sse2"}, True),
            ("x86_64", {"avx2"}, False),
            ("aarch64", {"asimd"}, False),
            ("x86_64", set(), False),
        ],
    )
    def test_a_processor_without_avx2_is_a_concern(self, architecture: str, features: set[str], slow: bool) -> None:
        cpu = Cpu(architecture=architecture, features=frozenset(features), logical=1, physical=1, quota=None)

        assert ("AVX2" in probes.cpu(cpu).concern) is slow

    def test_memory_that_runs_out_is_a_concern(self) -> None:
        assert probes.memory(Memory(100 * GIB, 4 * GIB, None)).concern
        assert not probes.memory(Memory(100 * GIB, 6 * GIB, None)).concern

    def test_a_full_gpu_is_a_concern_and_no_gpu_is_none(self) -> None:
        full = Gpus(GpuState.PRESENT, (Gpu(0, "GPU-0", "H", 100 * GIB, 2 * GIB),))

        assert probes.gpu(full).concern == "98% of the GPU memory is in use"
        assert not probes.gpu(Gpus(GpuState.NO_DRIVER)).concern

    def test_a_broken_gpu_driver_is_a_concern(self) -> None:
        concern = probes.gpu(Gpus(GpuState.BROKEN, problem="GPU is lost")).concern

        assert concern == "the NVIDIA driver does not answer as it should: GPU is lost; models run on the CPU"


def test_the_report_has_builds_model_and_machine_as_json(build_dir: Path, model: Path) -> None:
    told = json.loads(json.dumps(BitNetRuntime(build_dir).diagnostics(model).as_dict()))

    cli = told["programs"]["llama-cli"]
    assert cli["builds"][0]["version"] == "7 (abc)"
    assert cli["chosen"]["why"] == "the only build"
    assert told["model"]["tensor_types"] == {"TQ2_0": 2, "F16": 1}
    assert told["model"]["memory_needed_bytes"] > 0
    assert set(told["probes"]) == {"cpu", "memory", "disk", "gpu", "numa", "sandbox"}
    assert told["probes"]["memory"]["facts"]["total_bytes"] > 0
    assert told["probes"]["sandbox"]["facts"]["namespaces"]
    assert told["healthy"] is (told["problems"] == [])


def test_without_builds_and_with_a_broken_model_it_still_reports(tmp_path: Path) -> None:
    found = BitNetRuntime(tmp_path).diagnostics(tmp_path / "none.gguf")

    assert not found.healthy
    assert any("llama-cli: not found" in problem for problem in found.problems)
    assert any("no such model file" in problem for problem in found.problems)
    assert found.model is not None
    assert "problem" in found.model
    assert found.programs["llama-cli"]["builds"] == []  # type: ignore[index]


def test_a_model_that_no_build_reads_is_a_problem(build_dir: Path, model: Path) -> None:
    with_type_id(model, "blk.0.ffn_up.weight", 36)
    found = BitNetRuntime(build_dir).diagnostics(model)

    assert any("no binary here reads this model" in problem for problem in found.problems)
    assert found.programs["llama-cli"]["builds"]  # type: ignore[index]


def test_a_program_that_hangs_on_its_version_takes_nothing_else_from_the_report(tmp_path: Path) -> None:
    built = build(tmp_path / "b", script="exec sleep 3")
    found = BitNetRuntime(built, probe_seconds=0.5).diagnostics()

    assert f"{built}/bin/llama-cli --version: no answer within 0.5 s" in found.problems
    assert found.probes["cpu"].health is Health.OK
    cli = found.programs["llama-cli"]
    assert cli["builds"][0]["version"] == "unknown: no answer within 0.5 s"  # type: ignore[index]
    assert cli["chosen"]["why"] == "the only build"  # type: ignore[index]


@pytest.mark.parametrize("broken", ["read_gpus", "read_memory", "read_model"])
def test_a_driver_or_a_mount_that_hangs_takes_nothing_else_from_the_report(
    build_dir: Path, model: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    release = threading.Event()
    monkeypatch.setattr(probes if broken == "read_memory" else diagnostics, broken, lambda *_: release.wait())
    found = BitNetRuntime(build_dir, probe_seconds=2).diagnostics(model)
    release.set()

    name = broken.removeprefix("read_")
    assert [problem for problem in found.problems if "no answer" in problem] == [
        f"{name.rstrip('s')}: no answer within 2 s"
    ]
    assert found.programs["llama-cli"]["chosen"]["why"] == "the only build"  # type: ignore[index]
    assert "llama-cli: runs" in report.text(found)


def test_without_the_processor_builds_are_reported_and_none_is_chosen(
    build_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnostics, "read_cpu", lambda: 1 / 0)
    found = BitNetRuntime(build_dir).diagnostics()

    assert any(problem.startswith("cpu: ZeroDivisionError") for problem in found.problems)
    assert found.programs["llama-cli"]["builds"][0]["version"] == "7 (abc)"  # type: ignore[index]
    assert "no build can be chosen" in found.programs["llama-cli"]["problem"]  # type: ignore[index]


def test_layers_for_the_gpu_are_part_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = Gpus(GpuState.PRESENT, (Gpu(0, "GPU-0", "H", 80 * GIB, 80 * GIB),))
    monkeypatch.setattr(diagnostics, "read_gpus", lambda _: gpus)
    model = Gguf(architecture="llama", kind=Q.Q8_0).write(tmp_path / "m.gguf")
    found = BitNetRuntime(build(tmp_path / "b", UPSTREAM + CUDA)).diagnostics(model)

    assert found.programs["llama-server"]["gpu_layers"]["layers"] == 3  # type: ignore[index]
    assert "llama-server: 3 layers on the GPU: the whole model fits" in report.text(found)


def test_the_report_sees_the_gpus_that_programs_would_see(build_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, str]] = []

    def read(environment: Mapping[str, str]) -> Gpus:
        asked.append(environment)
        return Gpus(GpuState.NONE_VISIBLE)

    monkeypatch.setattr(diagnostics, "read_gpus", read)
    BitNetRuntime(build_dir, environment={"CUDA_VISIBLE_DEVICES": "1"}).diagnostics()

    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in asked] == ["1"]


def test_a_slow_processor_shows_up_among_the_problems(build_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Cpu(architecture="x86_64", features=frozenset({"sse2"}), logical=1, physical=1, quota=None)
    monkeypatch.setattr(diagnostics, "read_cpu", lambda: old)

    assert any(problem.startswith("cpu: no AVX2") for problem in BitNetRuntime(build_dir).diagnostics().problems)
