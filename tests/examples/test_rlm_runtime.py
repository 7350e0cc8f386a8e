"""examples/rlm-runtime, deployed to a sandbox with the real package, against a model that is ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.ports import free_ports
from tests.examples.model_api import provider
from tests.examples.sandbox import Sandbox, sandbox

# Its packages are 350 MB, and take minutes to come.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
TOKEN = "what-a-client-sends"
EXAMPLE = Path(__file__).parents[2] / "examples" / "rlm-runtime"


@pytest.fixture(scope="module")
def rlm() -> Iterator[Sandbox]:
    """The example as it is but for its ports."""
    redis, port, worker = free_ports(3)
    with provider() as model:
        environ = {
            **model.environ,
            "RLM_SERVER_TOKEN": TOKEN,
            "REDIS_URL": f"redis://127.0.0.1:{redis}",
            "PORT": str(port),
            "WORKER": str(worker),
        }
        with sandbox(environ) as made:
            shutil.copytree(EXAMPLE, made.root, ignore=shutil.ignore_patterns(".deploy", "__pycache__"))
            declared = (made.root / "deploy.toml").read_text()
            for before, after in ((6379, redis), (8080, port), (9500, worker)):
                assert f"\nport = {before}" in declared
                declared = declared.replace(f"\nport = {before}", f"\nport = {after}")
            (made.root / "deploy.toml").write_text(declared)
            made.deploy("up")
            yield made


def metrics(rlm: Sandbox, port: str) -> list[str]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.get(f"http://127.0.0.1:{rlm.environ[port]}/metrics", headers=headers, timeout=60).text.splitlines()


def test_a_prompt_is_answered_over_http_and_counted(rlm: Sandbox) -> None:
    url = f"http://127.0.0.1:{rlm.environ['PORT']}"
    headers = {"Authorization": f"Bearer {TOKEN}"}

    said = httpx.post(f"{url}/completion", json={"prompt": "What is two and two?"}, headers=headers, timeout=120)

    assert (said.status_code, said.json()["response"]) == (200, "four")
    assert httpx.get(f"{url}/health", timeout=60).json()["status"] == "healthy"
    assert 'rlm_requests_total{status="ok"} 1.0' in metrics(rlm, "PORT")


def test_a_prompt_is_answered_through_the_queue_and_counted(rlm: Sandbox) -> None:
    python = os.environ.get("RLM_PATH", str(rlm.place / "stable" / ".venv/bin")) + "/python"

    asked = subprocess.run(
        [python, "-m", "src.ask", "What is two and two?"],
        cwd=rlm.root,
        env=rlm.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert asked.stdout == "four\n", asked.stderr
    lines = metrics(rlm, "WORKER")
    assert "rlm_tokens_used_total_sum 21.0" in lines
    assert 'rlm_requests_total{status="ok"} 1.0' in lines
    assert "rlm_queue_depth 0.0" in lines


def test_another_prompt_template_restarts_server_and_worker_and_not_the_queue(rlm: Sandbox) -> None:
    before = rlm.programs()
    (rlm.root / "src" / "jobs.py").write_text((rlm.root / "src" / "jobs.py").read_text() + "# a comment\n")

    rlm.deploy("up")

    after = rlm.programs()
    assert all(after[name]["pid"] != before[name]["pid"] for name in ("rlm", "worker"))
    assert after["redis"]["pid"] == before["redis"]["pid"]
