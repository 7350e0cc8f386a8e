"""Declarations that are sound and do not do what they were written for."""

import json
from pathlib import Path

import pytest

from provision.project import load
from provision.project.traps import traps

# `uv sync` by a shell that goes to where the environment stays, as these had to before there was [python].
AT_HOME = "UV_PROJECT_ENVIRONMENT=$$(readlink -f .venv) uv sync --frozen"


@pytest.mark.parametrize(
    ("command", "outputs", "instead"),
    [
        (["uv", "sync", "--frozen", "--no-dev"], [".venv"], '[python] project = "."'),
        (
            ["sh", "-c", "python3 -m venv api/.venv && api/.venv/bin/pip install ."],
            ["api/.venv"],
            '[python] project = "."',
        ),
        (
            ["sh", "-c", "uv venv && uv pip install -r api/req.txt"],
            ["web", ".venv"],
            '[python] requirements = "api/req.txt"',
        ),
        (["poetry", "install", "--only", "main"], [".venv"], '[python] project = "."'),
        (["uv", "sync", "--frozen", "--no-install-project"], [".venv"], ""),
        (["sh", "-c", AT_HOME], [".venv"], ""),
        (["python3", "-m", "web.build"], ["web/dist"], ""),
        (["npm", "install"], ["env"], ""),
    ],
)
def test_an_environment_that_the_prepare_step_makes_where_it_will_not_be_is_warned_of(
    command: list[str], outputs: list[str], instead: str, tmp_path: Path
) -> None:
    (tmp_path / "deploy.toml").write_text(
        '[project]\nname = "shop"\n[services.web]\ncommand = ["python3", "-m", "shop"]\n'
        f"[prepare]\ncommand = {json.dumps(command)}\noutputs = {json.dumps(outputs)}\n"
    )
    loaded = load(tmp_path, environ={})

    found = [*map(str, loaded.declaration.problems(traps(loaded.project)))]

    assert len(found) == bool(instead)
    assert all(
        ":6:11: prepare.command: " in each and each.endswith(f"Instead of [prepare]: {instead}.") for each in found
    )
