"""The files that operators review. Written anew with: make golden"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from yamllint import linter
from yamllint.config import YamlLintConfig

from provision.manifests.kubernetes import render_kubernetes
from tests.manifests.kubernetes.projects import CRES, project

GOLDEN = Path(__file__).parent / "golden"
FILES = render_kubernetes(CRES)


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_as_reviewed(name: str) -> None:
    place = GOLDEN / name
    if os.environ.get("REWRITE_GOLDEN"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(FILES[name])

    assert FILES[name] == place.read_text()


def test_no_reviewed_file_is_left_over() -> None:
    assert {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*") if path.is_file()} == set(FILES)


def test_a_project_of_one_service_is_eight_files_that_can_be_read_at_one_sitting() -> None:
    """The largest that one service can be: an autoscaler, a budget, a volume, secrets, and its canary."""
    web = {
        "command": ["uvicorn", "web:app", "--port", "${port}"],
        "port": 8000,
        "env": {"MODE": "live"},
        "secrets": ["TOKEN"],
        "check": {"http": "/health"},
        "replicas": 3,
        "scale": {"max": 20, "cpu": 70},
        "resources": {"size": "small"},
        "expose": ["10.20.0.0/16"],
        "volumes": {"index": {"path": "/srv", "size": "10GiB", "shared": True}},
    }
    files = render_kubernetes(project({"web": web}))

    assert len(files) == 8
    assert sum(text.count("\n") for text in files.values()) <= 330


def test_rendering_again_gives_the_same_bytes() -> None:
    assert render_kubernetes(CRES) == FILES


@pytest.mark.parametrize("name", FILES)
def test_files_read_well(name: str) -> None:
    lines = FILES[name].split("\n")

    assert lines[-1] == ""
    assert lines[-2] != ""
    assert "" not in lines[:-1]
    assert [line for line in lines if line != line.rstrip() or len(line) > 120] == []


def test_yamllint_finds_nothing() -> None:
    # A file that kustomize reads, or of one object, begins without ---; comments name files and commands, however long.
    rules = YamlLintConfig("{extends: default, rules: {document-start: disable, line-length: disable}}")

    assert [(name, str(found)) for name, text in FILES.items() for found in linter.run(text, rules)] == []
