"""The profiles are CMake presets: cmake itself reads them as we do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from provision.native import data, profiles


@pytest.mark.parametrize("name", list(profiles()))
def test_cmake_resolves_a_preset_to_the_same_variables(name: str, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.23)\nproject(nothing NONE)\n")
    # The way that README.md offers; upstream has presets of its own, whose names must not clash with ours.
    upstream = [
        {"name": "base", "hidden": True},
        {"name": "release", "hidden": True},
        {"name": "static", "hidden": True},
    ]
    (tmp_path / "CMakePresets.json").write_text(json.dumps({"version": 4, "configurePresets": upstream}))
    shutil.copy(data.FOLDER / "CMakePresets.json", tmp_path / "CMakeUserPresets.json")

    subprocess.run(["cmake", "--preset", name], cwd=tmp_path, check=True, capture_output=True)

    cached = dict(
        re.findall(r"^(\w+):\w+=(.*)$", (tmp_path / f"build-{name}/CMakeCache.txt").read_text(), re.MULTILINE)
    )
    variables = profiles()[name].variables
    assert {key: cached[key] for key in variables} == dict(variables)


def test_no_profile_downloads_or_links_what_a_host_may_not_have() -> None:
    for profile in profiles().values():
        off = {key: profile.variables[key] for key in ("LLAMA_USE_PREBUILT_UI", "LLAMA_OPENSSL", "GGML_OPENMP")}
        assert set(off.values()) == {"OFF"}, profile.name
