"""`deploy native` as people run it: how far a build is, in a log and on a terminal, and what it refuses."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native.conftest import commit, held

NATIVE = [sys.executable, "-m", "provision.cli", "native"]
FILES = 34
STEPS = FILES + 6  # as many in one.c, two.c, three.c, libtiny.a, main.cpp and the program


@pytest.fixture
def larger(checkout: Path) -> Path:
    """The checkout with more files to compile."""
    names = [f"more{number}.c" for number in range(FILES)]
    for name in names:
        (checkout / name).write_text(f"int {name[:-2]}(void) {{ return 0; }}\n")
    with (checkout / "CMakeLists.txt").open("a") as file:
        file.write(f"target_sources(tiny PRIVATE {' '.join(names)})\n")
    commit(checkout)
    return checkout


def _build(source: Path) -> list[str]:
    return [*NATIVE, "build", "--profile", "portable", "--only", "llama-cli", "--source", str(source)]


def test_the_log_of_a_build_has_a_line_each_tenth(larger: Path, tmp_path: Path) -> None:
    environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "xdg")}

    done = subprocess.run(_build(larger), cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)

    tenths = [f"compiling: {tenth}0 % ({tenth * STEPS // 10} of {STEPS} steps)" for tenth in range(1, 10)]
    assert [line for line in done.stderr.splitlines() if line.startswith("compiling")] == [
        *tenths,
        f"compiling: {STEPS} steps",
    ]


@pytest.mark.timeout(120)
def test_a_terminal_shows_a_bar_with_the_steps_while_compilers_work(checkout: Path, tmp_path: Path) -> None:
    hold = tmp_path / "wait"
    held(checkout, hold)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        _build(checkout),
        cwd=tmp_path,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "xdg"), "TERM": "xterm-256color", "COLUMNS": "120"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)

    shown = _shown(ours, until=re.compile(r"compiling[^\r\n]*\u2501[^\r\n]*\d of \d+ steps"))
    hold.unlink()
    shown += _shown(ours)

    assert process.wait(60) == 0, shown
    assert str(tmp_path / "build/bin/llama-cli") in shown


def _shown(terminal: int, *, until: re.Pattern[str] | None = None) -> str:
    """What a terminal is given: all of it, or until a part of it says that."""
    shown = b""
    while until is None or not until.search(shown.decode(errors="replace")):
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the other end was closed
            break
    return shown.decode(errors="replace")


def test_a_variable_without_a_value_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [*NATIVE, "build", "--define", "GGML_NATIVE"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr == "--define GGML_NATIVE: a CMake variable is NAME=VALUE.\n"


def test_the_profiles_are_listed_with_where_they_run() -> None:
    listed = subprocess.run([*NATIVE, "profiles"], capture_output=True, text=True, check=True).stdout
    told = subprocess.run([*NATIVE, "profiles", "--json"], capture_output=True, text=True, check=True).stdout

    names = [json.loads(line)["name"] for line in told.splitlines()]
    assert names == [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")]
    assert {"native", "portable", "min"} <= set(names)


def test_the_demo_model_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    told = subprocess.run(
        [*NATIVE, "model", str(tmp_path / "models/demo.gguf"), "--json"], capture_output=True, text=True, check=True
    ).stdout

    assert (tmp_path / "models/demo.gguf").stat().st_size == json.loads(told)["bytes"]
