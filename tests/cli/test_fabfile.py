"""The same steps as Fabric tasks."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def fab(*words):
    return subprocess.run(
        [Path(sys.executable).with_name("fab"), *words],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("step", ["check", "plan", "up", "promote", "rollback", "status", "smoke", "history", "down"])
def test_every_step_is_a_task(step):
    assert step in fab("--list").stdout.split()


def test_a_task_does_what_the_verb_does_and_passes_on_its_exit_code(project):
    checked = fab("check", "--folder", str(project.root))
    assert checked.returncode == 0
    assert "small is sound" in checked.stdout
    (project.root / "deploy.toml").unlink()
    assert fab("status", "--folder", str(project.root)).returncode == 2
