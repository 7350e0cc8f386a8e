"""examples/rlm-runtime, deployed to a sandbox with the real package, against a model that is ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.ports import free_ports
from tests.examples.sandbox import Sandbox, sandbox

# Its packages are 350 MB, and take minutes to come.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "rlm-runtime"


class Model(BaseHTTPRequestHandler):
    """Speaks as OpenAI's API does, and always says the same."""

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": "four"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21}
        answer = {"id": "a", "object": "chat.completion", "created": 1, "model": "bitnet", "choices": [choice]}
        body = json.dumps({**answer, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def rlm() -> Iterator[Sandbox]:
    """The example as it is but for its ports."""
    model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=model.serve_forever, args=(0.05,), daemon=True).start()
    redis, port = free_ports(2)
    environ = {
        "RLM_MODEL": "openai/bitnet",
        "OPENAI_API_BASE": f"http://127.0.0.1:{model.server_port}/v1",
        "OPENAI_API_KEY": "a key",
        "REDIS_URL": f"redis://127.0.0.1:{redis}",
        "PORT": str(port),
    }
    with sandbox(environ) as made:
        shutil.copytree(EXAMPLE, made.root, ignore=shutil.ignore_patterns(".deploy", "__pycache__"))
        declared = (made.root / "deploy.toml").read_text()
        for before, after in ((6379, redis), (9500, port)):
            assert f"\nport = {before}" in declared
            declared = declared.replace(f"\nport = {before}", f"\nport = {after}")
        (made.root / "deploy.toml").write_text(declared)
        made.deploy("up")
        yield made
    model.shutdown()
    model.server_close()


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
    with urllib.request.urlopen(f"http://127.0.0.1:{rlm.environ['PORT']}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    assert 'rlm_tokens_total{direction="in"} 20.0' in lines
    assert 'rlm_completions_total{status="ok"} 1.0' in lines
    assert "rlm_queue_depth 0.0" in lines


def test_another_prompt_template_restarts_the_worker_and_not_the_queue(rlm: Sandbox) -> None:
    before = rlm.programs()
    (rlm.root / "src" / "jobs.py").write_text((rlm.root / "src" / "jobs.py").read_text() + "# a comment\n")

    rlm.deploy("up")

    after = rlm.programs()
    assert after["rlm"]["pid"] != before["rlm"]["pid"]
    assert after["redis"]["pid"] == before["redis"]["pid"]
