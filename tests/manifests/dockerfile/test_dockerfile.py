"""The Dockerfile that people review, and what hadolint says of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provision.errors import UnencodableValue, UsageError
from provision.manifests.dockerfile import files
from provision.manifests.encoders.dockerfile import docker_arg, docker_string
from provision.manifests.value import Value
from provision.project.python import Python
from tests.manifests.kubernetes.projects import CRES, IMAGE, project
from tests.manifests.projects import dollars_doubled
from tests.manifests.values import texts

HADOLINT = Path(sys.executable).with_name("hadolint")
GOLDEN = Path(__file__).parent / "golden"
# What `[python]` says, and the files it is made from.
DECLARED = {
    "lock": (Python(requirements=("requirements.txt",)), {"requirements.txt": "idna\n", "deploy.lock": "idna==3.10\n"}),
    "lock-of-a-package": (
        Python(project=".", secrets=("UV_INDEX_INNER_PASSWORD",)),
        {
            "pyproject.toml": """
                [project]
                name = "shop"
                requires-python = ">=3.13"
                [build-system]
                [[tool.uv.index]]
                name = "inner"
                url = "https://packages.example.net/simple"
            """,
            "parts/words/pyproject.toml": '[project]\nname = "words"\n[build-system]\n',
            "deploy.lock": "-e ./parts/words\nidna==3.10\n",
        },
    ),
}
VARIANTS = {"uv": ("uv.lock", "pyproject.toml"), "requirements": ("requirements.txt",), "project": ("pyproject.toml",)}


def rendered(folder: Path, *present: str, services: dict[str, Any] | None = None) -> dict[str, str]:
    for name in present:
        (folder / name).touch()
    return files(project(services) if services else CRES, None, folder)


def declared(folder: Path, python: Python, present: dict[str, str]) -> dict[str, str]:
    for name, text in present.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return files(CRES.model_copy(update={"python": python}), None, folder)


@pytest.mark.parametrize("variant", [*VARIANTS, "none", *DECLARED])
def test_the_files_are_as_reviewed_and_hadolint_finds_nothing(variant: str, tmp_path: Path) -> None:
    written = declared(tmp_path, *DECLARED[variant]) if variant in DECLARED else None
    for name, text in (written or rendered(tmp_path, *VARIANTS.get(variant, ()))).items():
        place = GOLDEN / variant / name
        if os.environ.get("REWRITE_GOLDEN"):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        assert place.read_text() == text
    # DL3025 and the like are errors here; nothing is switched off.
    done = subprocess.run(
        [HADOLINT, "--no-color", GOLDEN / variant / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_rendering_again_gives_the_same_bytes(tmp_path: Path) -> None:
    assert rendered(tmp_path, "uv.lock") == rendered(tmp_path, "uv.lock")


def test_each_service_of_the_project_s_own_has_a_stage_and_a_native_program_has_none(tmp_path: Path) -> None:
    services = {
        "llama": {"preset": "bitnet-server", "model": "m.gguf", "threads": 1},
        "theirs": {"command": ["a"], "image": IMAGE},
        "build": {"command": ["b"]},
        "web": {"command": ["c"], "port": 80},
    }
    text = rendered(tmp_path, services=services)["Dockerfile"]

    assert re.findall(r"(?m)^FROM shared_runtime AS (.*)$", text) == ["build", "web"]


def test_a_project_without_a_service_of_its_own_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no service needs an image"):
        rendered(tmp_path, services={"theirs": {"command": ["a"], "image": IMAGE}})


def test_secrets_of_the_folder_reach_no_image(tmp_path: Path) -> None:
    ignored = rendered(tmp_path)["Dockerfile.dockerignore"].splitlines()

    assert {".env*", "secrets", "**/*.key", "**/*.pem", ".git"} <= set(ignored)


@given(st.lists(texts(), min_size=1, max_size=8))
@settings(max_examples=500)
def test_a_word_in_exec_form_is_one_json_string_on_one_line(words: list[str]) -> None:
    line = f"[{', '.join(docker_arg(Value('x', (word,))) for word in words)}]"

    assert json.loads(line) == words
    assert line.splitlines() == [line]


def test_a_command_arrives_in_its_stage(tmp_path: Path) -> None:
    words = ["run", 'a "b" $c', "\\", "é\n", "$(d)", "#"]
    text = rendered(tmp_path, services={"web": {"command": [dollars_doubled(word) for word in words]}})["Dockerfile"]

    assert json.loads(text.rpartition("ENTRYPOINT ")[2]) == words


@pytest.mark.parametrize(("value", "reason"), [("a\0", "NUL"), ("\ud800", "half a character"), ("a\nb", "printable")])
def test_what_a_label_cannot_hold_is_refused(value: str, reason: str) -> None:
    with pytest.raises(UnencodableValue, match=f"project.name: .*{reason}"):
        docker_string(Value("project.name", (value,)))


def test_a_label_s_dollars_quotes_and_backslashes_are_its_own() -> None:
    assert docker_string(Value("x", ('a "b" $c \\',))) == r'"a \"b\" \$c \\"'
