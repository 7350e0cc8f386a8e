"""The fabfiles that are shown to people, and what they show of the rooms."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from provision.tasks import ns
from tests.fabric.conftest import FAB, Fleet

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/fabric.md").read_text()
EXAMPLES = ("minimal", "vast-stack")


def test_the_documented_fabfiles_are_those_of_the_examples() -> None:
    shown = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    assert shown[: len(EXAMPLES)] == [(ROOT / "examples" / name / "fabfile.py").read_text() for name in EXAMPLES]


def test_every_room_is_in_the_documented_table_with_its_options() -> None:
    rows = dict(re.findall(r"^\| `(\S+?)` [^|]*\| ([^|]*)\|", DOCS, re.MULTILINE))
    assert rows.keys() == set(ns.task_names)
    for name in ns.task_names:
        options = {f"--{each.name.replace('_', '-')}" for each in ns[name].get_arguments(ignore_unknown_help=True)}
        told = set(re.findall(r"--[a-z-]+", rows[name])) | {"--target", "--folder"}
        assert options | {"--target"} == told, name


@pytest.mark.parametrize("folder", [".", *(f"examples/{name}" for name in EXAMPLES)])
def test_each_lists_every_room(folder: str) -> None:
    done = subprocess.run([FAB, "--list"], cwd=ROOT / folder, capture_output=True, text=True, check=True)
    prefix = "deploy." if "vast" in folder else ""
    assert {f"{prefix}{name}" for name in ns.task_names} <= set(done.stdout.split())


@pytest.mark.root
def test_the_team_s_own_release_leaves_the_proven_one_on_every_machine(fleet: Fleet) -> None:
    shutil.copy(ROOT / "examples/vast-stack/fabfile.py", fleet.folder)
    fleet.ok("deploy.up")
    old = fleet.stable
    fleet.web("2")
    told = fleet.ok("release")
    assert "2 of 2 checks passed" in told
    assert (fleet.version, fleet.stable != old, fleet.exists("canary")) == ("2", True, False)
    fleet.web("3", check={"http": "/health", "status": [500], "timeout": "1s"})
    assert fleet.fab("release").returncode == 3
    assert fleet.version == "2"
