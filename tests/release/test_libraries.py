"""A program that is linked with libraries beside it arrives with them, however ignored its folder is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.release.projects import paths, released, write

BESIDE = ["build/bin/libextra.so", "build/bin/libggml-cpu-haswell.so", "build/bin/server"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that ignores its build, as llama.cpp's own lies there: a program, its library, and a plug-in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "project"
    write(
        root,
        {
            ".gitignore": "/build/\n",
            "build/extra.c": "int extra(void) { return 42; }\n",
            "build/main.c": "int extra(void);\nint main(void) { return extra() != 42; }\n",
            "build/alone.c": "int main(void) { return 0; }\n",
            "build/bin/notes.txt": "",
        },
    )
    compiled(root, ["-shared", "-fPIC", "-Wl,-soname,libextra.so", "extra.c", "-o", "bin/libextra.so"])
    shutil.copy(root / "build/bin/libextra.so", root / "build/bin/libggml-cpu-haswell.so")
    compiled(root, ["main.c", "bin/libextra.so", "-Wl,-rpath,$ORIGIN", "-o", "bin/server"])
    return root


def compiled(root: Path, words: Sequence[str]) -> None:
    subprocess.run(["cc", *words], cwd=root / "build", check=True)


def service(binary: str = "build/bin/server") -> dict[str, object]:
    return {"llama": {"command": ["${binary}"], "binary": binary, "paths": []}}


def test_the_libraries_beside_a_program_come_along_and_it_runs_where_it_arrives(root: Path, tmp_path: Path) -> None:
    release = released(root, service())
    host = tmp_path / "host"
    for entry in release.files:
        (host / entry.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / entry.path, host / entry.path)
    shutil.rmtree(root)

    assert [path for path in paths(release) if path.startswith("build/")] == BESIDE
    assert [each.files for each in release.libraries] == [tuple(BESIDE[:2])]
    assert subprocess.run([host / "build/bin/server"], check=False).returncode == 0
    assert not release.warnings


def test_a_program_that_needs_none_of_them_comes_alone(root: Path) -> None:
    compiled(root, ["alone.c", "-o", "bin/alone"])
    release = released(root, service("build/bin/alone"))

    assert [path for path in paths(release) if path.startswith("build/")] == ["build/bin/alone"]
    assert not release.libraries


def test_a_library_that_changed_restarts_its_program(root: Path) -> None:
    before = released(root, service())
    (root / "build/extra.c").write_text("int extra(void) { return 41 + 1; }\nint more(void) { return 1; }\n")
    compiled(root, ["-shared", "-fPIC", "-Wl,-soname,libextra.so", "extra.c", "-o", "bin/libextra.so"])
    after = released(root, service())

    marks = [each.document["lanes"]["stable"]["services"][0]["fingerprint"] for each in (before, after)]
    assert marks[0] != marks[1]


@pytest.mark.parametrize(
    ("where", "said"), [(["-Wl,-rpath,/opt/build/bin"], "/opt/build/bin"), ([], "the system's folders")]
)
def test_a_program_that_would_look_elsewhere_is_named(root: Path, where: list[str], said: str) -> None:
    compiled(root, ["main.c", "bin/libextra.so", *where, "-o", "bin/server"])
    release = released(root, service())

    assert [path for path in paths(release) if path.startswith("build/")] == BESIDE
    (warning,) = release.warnings
    assert f"build/bin/server looks for its libraries in {said}, not beside itself" in warning
