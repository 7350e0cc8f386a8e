"""examples/model, as its README says, with what a Hub has by that name: the smallest model of ours."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from pathlib import Path

import pytest

from provision.native.model import write_demo_model
from provision.targets import sandbox
from tests.cli.ports import free_ports
from tests.models.conftest import COMMIT, Hub, environ, hub
from tests.models.project import Project

__all__ = ["environ", "hub"]

ROOT = Path(__file__).parents[2]
SOURCE = "Qwen/Qwen2.5-0.5B-Instruct-GGUF", "qwen2.5-0.5b-instruct-q4_k_m.gguf"


@pytest.mark.slow  # the engine's wheel is installed
def test_the_example_of_a_real_model_locks_fetches_and_answers(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    write_demo_model(tmp_path / "demo.gguf")
    hub.put(*SOURCE, (tmp_path / "demo.gguf").read_bytes())
    # The wheel of the engine comes from where other tests have it, too.
    project = Project(tmp_path / "example", {**environ, "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", "")})
    (port,) = free_ports(1)
    shutil.copytree(ROOT / "examples/model", project.root, dirs_exist_ok=True)
    declared = (project.root / "deploy.toml").read_text()
    assert "/".join(SOURCE) in declared
    (project.root / "deploy.toml").write_text(declared.replace("8081", str(port)))
    try:
        assert "services.llm:" in project.ok("model", "show")
        assert f"qwen: new at {COMMIT[:12]}" in project.ok("model", "lock")
        assert "with both releases" in project.ok("plan")
        project.ok("up")
        asked = json.dumps({"prompt": "Hello", "max_tokens": 4}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", asked)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["usage"]["completion_tokens"] == 4
        project.ok("down")
    finally:
        sandbox.stop(project.root)
