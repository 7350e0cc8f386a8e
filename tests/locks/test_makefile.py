"""The Makefile's variables: what is typed after `make` holds, and nothing that a shell happened to have."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.locks.conftest import REPOSITORY


def planned(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `make` would run."""
    return subprocess.run(
        ["make", "--dry-run", *words],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_engine_that_is_typed_is_taken() -> None:
    assert "deploy demo --engine build\n" in planned("demo", "ENGINE=build").stdout


@pytest.mark.parametrize(
    ("goal", "variables"),
    [
        ("demo", {"ENGINE": "docker", "VENV": "/elsewhere"}),
        ("ci-minimal-image", {"BASE": "alpine"}),
        ("lock", {"UPGRADE": "yes"}),
    ],
)
def test_variables_of_the_shell_change_nothing(goal: str, variables: dict[str, str]) -> None:
    assert planned(goal, **variables).stdout == planned(goal).stdout


def test_a_shell_s_venv_does_not_reach_the_scripts() -> None:
    asking = ["make", "-f", "Makefile", "-f", "-", "asked"]
    goal = "asked:\n\t@echo $${VENV-none}\n"
    environment = {"PATH": os.environ["PATH"], "VENV": "/elsewhere"}
    done = subprocess.run(
        asking, cwd=REPOSITORY, env=environment, input=goal, capture_output=True, text=True, check=True
    )

    assert done.stdout == "none\n"


@pytest.mark.parametrize("engine", ["docker", "", "wheel build", "wheels"])
def test_an_engine_that_is_none_is_refused_before_anything_is_installed(engine: str) -> None:
    done = planned("demo", f"ENGINE={engine}")

    assert (done.returncode, done.stdout) == (2, "")
    assert f'ENGINE is wheel or build, not "{engine}"; next: make demo ENGINE=wheel.' in done.stderr
