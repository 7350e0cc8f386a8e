"""The stack of examples/vast-stack, deployed by deploy_vast.py to a real host: the sandbox."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from provision.native.model import write_demo_model
from tests.cli.ports import free_ports

pytestmark = pytest.mark.timeout(2400)
_ROOT = Path(__file__).parents[2]
_PORTS = {"llama": "8081", "fastapi": "8000", "web": "8080"}


@dataclass
class Stack:
    root: Path
    environ: dict[str, str]
    ports: dict[str, int]
    told: str = ""  # by the first deploy, on stdout and stderr

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], cwd=self.root, env=self.environ, capture_output=True, text=True, check=False
        )

    def deploy(self, *words: str) -> str:
        done = self.run("-m", "provision.cli", *words, "--target", "sandbox")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def activity(self, service: str) -> str:
        (line,) = [line for line in self.deploy("status", "--json").splitlines() if '"event": "status"' in line]
        return json.loads(line)["project"]["view"]["programs"][service]["activity"]

    def get(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['fastapi']}{path}", timeout=20) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict):
        url = f"http://127.0.0.1:{self.ports['fastapi']}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def stack():
    """The example, with ports that are free here and a small model, up."""
    folder = Path(tempfile.mkdtemp(prefix="vast-"))
    root = folder / "stack"
    shutil.copytree(
        _ROOT / "examples" / "vast-stack", root, ignore=shutil.ignore_patterns(".deploy", "build", "models")
    )
    ports = dict(zip(_PORTS, free_ports(3), strict=True))
    declared = (root / "deploy.toml").read_text()
    for service, port in _PORTS.items():
        assert f"port = {port}\n" in declared
        declared = declared.replace(f"port = {port}\n", f"port = {ports[service]}\n")
    (root / "deploy.toml").write_text(declared)
    write_demo_model(root / "models" / "model.gguf")
    environ = {
        **os.environ,
        "STACK_PYTHON": sys.executable,
        "STACK_PLACE": str(folder / "place"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    made = Stack(root, environ, ports)
    up = made.run(str(_ROOT / "deploy_vast.py"), "--target", "sandbox")
    assert up.returncode == 0, up.stdout + up.stderr
    made.told = up.stdout + up.stderr
    yield made
    made.deploy("down")
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


def test_it_says_how_to_reach_what_runs_and_leaves_the_web_off(stack):
    assert f"-L {stack.ports['fastapi']}:127.0.0.1:{stack.ports['fastapi']}" in stack.told
    assert f"-L {stack.ports['llama']}:127.0.0.1:{stack.ports['llama']}" in stack.told
    assert f"127.0.0.1:{stack.ports['web']}" not in stack.told


def test_the_whole_stack_was_proven_by_a_request_through_the_api(stack):
    assert "passed: llama completion" in stack.told
    assert "passed: fastapi http /docs" in stack.told
    assert "passed: generate command" in stack.told


def test_the_api_generates_with_the_deployed_model(stack):
    assert stack.get("/health") == {"status": "ok", "llama": "up"}
    assert stack.post("/generate", {"prompt": "Hello", "tokens": 8})["completion"]


@pytest.mark.parametrize("service", ["worker-cpu", "web"])
def test_what_is_on_demand_does_not_run(stack, service):
    assert stack.activity(service) == "stopped"


def test_a_batch_starts_its_worker_and_comes_back_with_completions(stack):
    assert stack.activity("worker-gpu") == "stopped"
    job = stack.post("/jobs/gpu", {"prompts": ["Hello", "World"]})["job"]
    assert stack.activity("worker-gpu") == "running"
    deadline = time.monotonic() + 60
    while (found := stack.get(f"/jobs/gpu/{job}"))["state"] != "done":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert len(found["completions"]) == 2
    assert all(found["completions"])


@pytest.mark.parametrize("name", ["0000000000000000", "..%2f..%2fetc", "x"])
def test_a_job_that_is_not_there_is_404(stack, name):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        stack.get(f"/jobs/gpu/{name}")


def test_the_api_starts_no_program_of_a_caller_s_choosing(stack):
    with pytest.raises(urllib.error.HTTPError, match="422"):
        stack.post("/jobs/llama", {"prompts": ["Hello"]})


def test_a_changed_line_restarts_the_api_and_not_the_model(stack):
    def pids():
        (line,) = [line for line in stack.deploy("status", "--json").splitlines() if '"event": "status"' in line]
        programs = json.loads(line)["project"]["view"]["programs"]
        return {name: programs[name]["pid"] for name in ("llama", "fastapi")}

    before = pids()
    main = stack.root / "src" / "api" / "main.py"
    main.write_text(main.read_text() + "\n# a comment\n")
    stack.deploy("up")
    after = pids()
    assert stack.get("/health") == {"status": "ok", "llama": "up"}
    assert after["llama"] == before["llama"]
    assert after["fastapi"] != before["fastapi"]


def test_without_its_variables_the_vast_target_says_which_are_missing(stack):
    environ = {name: value for name, value in stack.environ.items() if not name.startswith("VAST_")}
    done = subprocess.run(
        [sys.executable, _ROOT / "deploy_vast.py"],
        cwd=stack.root,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    for name in ("VAST_HOST", "VAST_PORT", "VAST_SSH_KEY"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr
