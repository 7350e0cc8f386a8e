"""Each preset on each platform, as operators read it. Written anew with: make golden"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provision.project.platforms import RENDERED
from provision.project.presets import presets
from tests.manifests.presets.renders import GOLDEN, PAIRS, PROJECTS, REFUSED, place, shown

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("pair", PAIRS)
def test_what_is_shown_is_as_reviewed(pair: str) -> None:
    text = shown(pair)
    if os.environ.get("REWRITE_GOLDEN"):
        place(pair).write_text(text)

    assert text == place(pair).read_text()


def test_every_preset_is_shown_on_every_platform() -> None:
    used = {preset for preset in presets() for name in PROJECTS if f'preset = "{preset}"' in declared(name)}

    assert used == set(presets())
    assert {file.relative_to(GOLDEN).as_posix() for file in GOLDEN.rglob("*") if file.is_file()} == {
        *(f"{project}/deploy.toml" for project in PROJECTS),
        *(f"{project}/{platform}.txt" for project in PROJECTS for platform in RENDERED),
    }


def declared(project: str) -> str:
    return (GOLDEN / project / "deploy.toml").read_text()


@pytest.mark.parametrize("pair", PAIRS)
def test_what_is_shown_reads_well(pair: str) -> None:
    lines = place(pair).read_text().split("\n")

    assert lines[-1] == ""
    assert [line for line in lines if line != line.rstrip()] == []
    # Python has two empty lines between functions.
    assert ("\n" * (4 if pair.endswith(("lambda", "cloud-function")) else 3)) not in "\n".join(lines)
    assert not lines[0].startswith(REFUSED) or len(lines) <= 4


def test_another_process_elsewhere_later_shows_the_same_bytes(tmp_path: Path) -> None:
    """Another order of sets, locale, time zone, width, folder and day."""
    (tmp_path / "sitecustomize.py").write_text("import time\nnow = time.time\ntime.time = lambda: now() + 5e7\n")
    environment = {"PYTHONHASHSEED": "7", "PYTHONUTF8": "0", "LC_ALL": "C", "TZ": "Pacific/Kiritimati", "COLUMNS": "40"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.manifests.presets.renders"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{ROOT}", "HOME": str(tmp_path), **environment},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )

    assert json.loads(done.stdout) == {pair: place(pair).read_text() for pair in PAIRS}
