"""The guide to deployment and the runtime: its commands, as they are written, in a checkout."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet import BitNetRuntime
from tests.bitnet.runtime.conftest import CHECKOUT, demo_model, native_build

__all__ = ["demo_model", "native_build"]

PING = 'python run_inference.py --model /path/to/model.gguf --prompt "ping" --dry-run --diagnostics'


def run(line: str, model: Path, where: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    """A line of the guide, with a model that is there, in a checkout."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # Debian has no `python`
    words = shlex.split(line.replace("/path/to/model.gguf", str(model)))
    return subprocess.run(
        words, cwd=where, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a clone of this repository holds, and the environment that `make venv` puts into it."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(lambda name: name and (CHECKOUT / name).is_file(), names):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / "tree" / name)
    (tmp_path / "tree/.venv").symlink_to(sys.prefix)
    return tmp_path / "tree"


@pytest.mark.native
def test_the_health_check_names_programs_cores_and_the_model(native_build: Path, demo_model: Path) -> None:
    done = run(PING, demo_model)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{native_build}/bin/llama-cli --model {demo_model}")
    assert f"llama-server: {native_build}/bin/llama-server" in done.stderr
    assert "logical " in done.stderr
    assert f"model: path {demo_model}" in done.stderr


@pytest.mark.native
def test_what_the_health_check_misses_is_said_with_a_way_out(native_build: Path, tmp_path: Path) -> None:
    done = run(PING, tmp_path / "none.gguf")

    assert done.returncode == 2
    assert "none.gguf" in done.stderr
    assert "next: " in done.stderr


@pytest.mark.native
def test_the_server_script_shows_the_command_for_a_supervisor_and_takes_host_and_batch_size(
    native_build: Path, demo_model: Path
) -> None:
    line = "python run_inference_server.py --model /path/to/model.gguf --host 127.0.0.1 --batch-size 16 --dry-run"
    done = run(line, demo_model)
    words = shlex.split(done.stdout)

    assert words[0] == f"{native_build}/bin/llama-server"
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--batch-size") + 1] == "16"
    assert words[words.index("--threads") + 1] == str(
        BitNetRuntime(native_build).diagnostics().probes["cpu"].facts["threads"]
    )  # type: ignore[index]


@pytest.mark.native
def test_it_answers_and_diagnostics_are_json_for_a_dashboard(native_build: Path, demo_model: Path) -> None:
    line = 'python run_inference.py --model /path/to/model.gguf --prompt "ping" --n-predict 4 --json --log-json'
    done = run(line, demo_model)
    found = json.loads(run(f"{PING} --json", demo_model).stdout)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["returncode"] == 0
    assert '"launch.started"' in done.stderr
    assert found["diagnostics"]["probes"]["disk"]["health"] == "ok"
    assert found["diagnostics"]["programs"]["llama-cli"]["chosen"]


@pytest.mark.native
def test_the_folder_of_the_build_runs_on_a_machine_that_it_was_copied_to(
    native_build: Path, demo_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(native_build / "bin", tmp_path / "host/build/bin")
    shutil.copytree(CHECKOUT / "bitnet", tmp_path / "host/bitnet")
    shutil.copy(CHECKOUT / "run_inference.py", tmp_path / "host")
    done = run(PING, demo_model, tmp_path / "host")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path}/host/build/bin/llama-cli ")


def test_cmake_says_what_is_missing_before_it_compiles(tree: Path) -> None:
    (tree / "provision/native/__init__.py").write_text("import a_package_that_nobody_has\n")
    done = run("cmake -S . -B build -DLLAMA_BUILD_EXAMPLES=OFF", tree, tree)

    said = " ".join(done.stderr.split())  # CMake breaks lines where it likes
    assert done.returncode == 1
    assert "No module named 'a_package_that_nobody_has'" in said
    assert "Next: make venv" in said


@pytest.mark.slow
@pytest.mark.timeout(3600)  # the first build of the profile `native` compiles
def test_two_lines_of_cmake_build_what_the_health_check_finds(tree: Path, demo_model: Path) -> None:
    for line in ("cmake -S . -B build -DLLAMA_BUILD_EXAMPLES=OFF", "cmake --build build -j"):
        done = run(line, tree, tree)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run(PING, demo_model, tree)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tree}/build/bin/llama-cli --model {demo_model}")
    built = json.loads((tree / "build/build.json").read_text())
    assert (built["profile"], built["flags"]["LLAMA_BUILD_EXAMPLES"]) == ("native", "OFF")
    assert {"llama-cli", "llama-server"} <= set(built["binaries"])
