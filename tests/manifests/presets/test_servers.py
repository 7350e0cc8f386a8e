"""What presets tell servers that need a GPU is what those servers take, by their own packages and parsers."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.project import load
from provision.project.presets import presets

HERE = Path(__file__).parent
TRIED = yaml.safe_load((HERE / "tried.yaml").read_text())
CASES = [(server, each) for server in TRIED for each in TRIED[server]["commands"]]
PLACES = {"listen": "127.0.0.1", "model": "models/tiny", "repository": "acme/tiny"}


@pytest.mark.parametrize(("server", "case"), CASES)
def test_a_preset_makes_the_commands_that_were_tried(server: str, case: dict[str, Any], tmp_path: Path) -> None:
    declared = f'[models.tiny]\nsource = "hf://acme/tiny"\nspare = true\n[services.llm]\npreset = "{server}"\n'
    (tmp_path / "deploy.toml").write_text(f'[project]\nname = "tried"\n{declared}{case["declared"]}')
    service = load(tmp_path, environ=case.get("env", {})).project.services["llm"]
    places = {**PLACES, "port": str(service.port)}
    assert [word.resolve(lambda ref: places[ref.name]) for word in service.command] == case["command"].split()


@pytest.mark.slow
@pytest.mark.parametrize(("server", "case"), CASES)
def test_the_server_s_own_parser_takes_them(server: str, case: dict[str, Any]) -> None:
    """With 0.33.0: uv venv v; uv pip install -p v vllm==0.33.0; VLLM_PYTHON=v/bin/python. Likewise SGLANG_PYTHON."""
    python = os.environ.get(f"{server.upper()}_PYTHON")
    if not python:
        how = f"uv pip install -p v {server}=={TRIED[server]['version']}"
        pytest.skip(f"{server.upper()}_PYTHON names no Python that has {server}: uv venv v; {how} (some GB)")
    words = case["command"].split()
    # So vLLM asks no GPU what it is; its parser is the same.
    environ = {**os.environ, "VLLM_TARGET_DEVICE": "cpu", "HF_HUB_OFFLINE": "1"}
    asked = [python, str(HERE / "parsers.py"), *words]
    ran = subprocess.run(asked, env=environ, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    for option, value in itertools.pairwise(words):
        if option.startswith("--") and not value.startswith("--"):
            taken = told[option[2:].replace("-", "_")]
            taken = taken[0] if isinstance(taken, list) else taken
            assert taken == type(taken)(value), option


# --- Without them: what their packages say ----------------------------------------------------------------------------


@pytest.mark.slow
def test_sglang_takes_the_options_and_has_the_metrics_that_its_preset_says(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(tmp_path)]
    subprocess.run([*pip, "sglang>=0.5.23,<0.6"], check=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
    arguments = "".join(text for name, text in texts.items() if "sglang/srt/" in name and "arg" in name)
    metrics = texts["sglang/srt/observability/metrics_collector.py"]
    server = texts["sglang/srt/entrypoints/http_server.py"]
    preset = presets()["sglang"]

    ast.parse(texts["sglang/launch_server.py"])
    for word in [*preset["command"], *preset["with_model"]["command"]]:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            assert re.search(rf"\b{name}: A\[", arguments), word
    for metric in preset["metrics"]["busy"]:
        assert f'"{metric}"' in metrics
    assert '@app.get("/health")' in server
    assert '@app.post("/v1/completions"' in server
