"""What is rendered for Compose is run by Compose, on an engine, as people do."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.cli.main import main
from tests.manifests.compose.composer import docker_compose
from tests.testbed.docker import Engine
from tests.testbed.slots import Slot

pytestmark = [pytest.mark.root, pytest.mark.slow]

_EXAMPLE = Path(__file__).parents[2] / "examples" / "minimal"
_DOCKERFILE = "FROM compose-base:1\nWORKDIR /app\nCOPY app.py ./\nUSER 1000:1000\n"


@pytest.fixture
def engine(slot: Slot) -> Iterator[Engine]:
    engine = Engine(slot)
    try:
        engine.take_base("compose-base:1")
        yield engine
    finally:
        engine.destroy()


def test_the_minimal_example_starts_becomes_healthy_answers_and_is_taken_down(engine: Engine, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    shutil.copy(_EXAMPLE / "app.py", context)
    (context / "Dockerfile").write_text(_DOCKERFILE)
    engine.client.images.build(path=str(context), tag="minimal:latest", rm=True)
    with contextlib.chdir(_EXAMPLE), contextlib.redirect_stdout(io.StringIO()) as written:
        assert main(["render", "compose"]) == 0
    (tmp_path / "compose.yaml").write_text(written.getvalue())

    def compose(*words: str) -> str:
        command = [docker_compose(), "--file", tmp_path / "compose.yaml", *words]
        environ = {"DOCKER_HOST": engine.url, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    compose("up", "--detach", "--wait", "--wait-timeout", "60")

    (web,) = engine.client.containers.list()
    assert web.attrs["State"]["Health"]["Status"] == "healthy"
    asked = ["nsenter", f"--net=/run/netns/{engine.name}", "curl", "-fsS", "-m", "10", "http://127.0.0.1:8000/"]
    assert "Hello" in subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    compose("down")
    assert engine.client.containers.list(all=True) == []
