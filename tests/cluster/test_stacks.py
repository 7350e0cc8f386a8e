"""The documents' deployments as pods: `deploy up` proves them, and what they are for is then asked of them.

Nothing of them is left out but size: these machines have two cores, so each asks for little and there is one copy.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.cluster.declared import Declared
from tests.cluster.given import with_its_own
from tests.cluster.images import folder
from tests.cluster.running import Cluster
from tests.deploy.newcomer import PROBE
from tests.faults.hooks import until
from tests.platforms.stacks import EXAMPLES, packages, put_stack_together
from tests.testbed.docker import base
from tests.testbed.rootfs import debian, rootfs

# Packages of an example are some 100 MB, and take minutes to come.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), with_its_own]
_LITTLE = '{ memory = "1GiB", cpus = 1, requests = { memory = "128MiB", cpus = 0.05 } }'
# What the others ask: the smallest model there is, by the real llama-server.
_MODEL = f"""
[services.llama]
preset = "bitnet-server"
model = "models/model.gguf"
port = 8081
threads = 1
args = ["--predict", "8"]
resources = {_LITTLE}
"""
_TARGET = '\n[targets.k8s]\nplatform = "kubernetes"\n'


def take(small: Declared, example: str, changes: dict[str, str], more: str = "") -> None:
    """The example in place of the small project, by its name and with `changes`.

    Its image is some hundred MB, which the first pod unpacks.
    """
    small.patience = 600
    (small.root / "deploy.toml").unlink()
    shutil.copytree(EXAMPLES / example, small.root, ignore=shutil.ignore_patterns("build"), dirs_exist_ok=True)
    declared = (small.root / "deploy.toml").read_text()
    declared = re.sub(r'(?m)^name = ".*"$', f'name = "{small.name}"', declared, count=1)
    declared = declared[: declared.index("\n[targets.")] + more + _TARGET
    for before, after in changes.items():
        assert before in declared
        declared = declared.replace(before, after)
    (small.root / "deploy.toml").write_text(declared)


def image_of(cluster: Cluster, name: str, context: Path, demanded: list[str]) -> str:
    """An image of Debian's Python, what the packages `demanded` are, and all else that `context` has, in /app."""
    probed = subprocess.run(["chroot", rootfs(), "python3", "-c", PROBE], capture_output=True, text=True, check=True)
    python = packages(probed.stdout, demanded, context)
    venv = context / ".venv"
    (venv / "lib" / python).mkdir(parents=True)
    (context / "packages").rename(venv / "lib" / python / "site-packages")
    (context / "scripts").rename(venv / "bin")
    for each in ("python", "python3"):
        (venv / "bin" / each).symlink_to("/usr/bin/python3")
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    assert cluster.node
    layers = [base(), folder(context, "/app", cluster.disk / "layer.tar")]
    # What is compiled is kept in the one place that a pod may write: else each probe would compile all of it again.
    env = ["PATH=/app/.venv/bin:/app/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONPYCACHEPREFIX=/tmp/pycache"]
    return cluster.node.load_layers(name, layers, WorkingDir="/app", Env=env)


def asked(cluster: Cluster, small: Declared, service: str, path: str, *words: str) -> tuple[int, str]:
    """Status and text of an answer, asked at the Service past everything of ours."""
    found = json.loads(small.kubectl("get", "service", service, "-o", "json"))["spec"]
    url = f"http://{found['clusterIP']}:{found['ports'][0]['port']}{path}"
    command = [*cluster.inside(), "curl", "-sS", "-m", "120", "-w", "\n%{http_code}", *words, url]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    text, _, code = told.stdout.rpartition("\n")
    return int(code), text


def posted(body: dict[str, Any], key: str = "") -> list[str]:
    bearer = ["-H", f"Authorization: Bearer {key}"] if key else []
    return ["-H", "Content-Type: application/json", "-d", json.dumps(body), *bearer]


def with_model(context: Path) -> None:
    (context / "build/bin").mkdir(parents=True)
    shutil.copy(llama_server(context / "native"), context / "build/bin")
    shutil.rmtree(context / "native", ignore_errors=True)
    write_demo_model(context / "models/model.gguf")


def test_a_rollout_is_asked_for_and_ends_with_what_a_model_in_the_cluster_said(
    small: Declared, cluster: Cluster, tmp_path: Path
) -> None:
    """As a trainer whose model server is another pod; the address by which the rollout server calls it is its name."""
    context = tmp_path / "context"
    shutil.copytree(EXAMPLES / "rollout-server" / "src", context / "src")
    with_model(context)
    demanded = tomllib.loads((EXAMPLES / "rollout-server" / "pyproject.toml").read_text())["project"]["dependencies"]
    image = image_of(cluster, "localhost/rollout:1", context, demanded)
    assert cluster.node
    cluster.node.keep(small.name, 1)
    take(
        small,
        "rollout-server",
        {
            f'name = "{small.name}"\n': f'name = "{small.name}"\nimage = "{image}"\n',
            # Trainers' model servers are outside of the cluster; this one is a pod, which has to be said.
            'resources = { size = "medium" } ': f'after = ["llama"]\nresources = {_LITTLE} ',
        },
        more=_MODEL,
    )
    key = "what a trainer sends"
    small.environ |= {"ROLLOUT_API_KEY": key, "ROLLOUT_CALLBACK_KEY": "what a trainer gets"}
    small.environ |= {"ROLLOUT_CALLBACKS": "10.0.0.0/8"}  # where pods and Services are

    said = small.ok("up")

    assert "what a trainer" not in said
    body = {
        "rollout_id": "one",
        "server_url": "http://llama:8081",
        "messages": [{"role": "user", "content": "Hello"}],
        "sampling_params": {"max_tokens": 8, "logprobs": False},
        "max_turns": 2,
    }
    assert asked(cluster, small, "rollout", "/rollout", *posted(body))[0] == 401
    status, text = asked(cluster, small, "rollout", "/rollout", *posted(body, key))
    ended = json.loads(text)
    assert (status, ended["status"]) == (200, "COMPLETED"), text
    assert ended["metrics"]["response_tokens"] == 8
    assert small.event("plan")["unchanged"]


def test_a_prompt_is_completed_over_http_and_through_the_queue_by_a_model_in_the_cluster(
    small: Declared, cluster: Cluster, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    shutil.copytree(EXAMPLES / "rlm-runtime" / "src", context / "src")
    with_model(context)
    demanded = (EXAMPLES / "rlm-runtime" / "requirements.txt").read_text().splitlines()
    image = image_of(cluster, "localhost/rlm:1", context, demanded)
    assert cluster.node
    redis = cluster.node.load_layers("localhost/redis:7", [debian("compose-redis", ["redis-server"])])
    cluster.node.keep(small.name, 3)  # of redis, and for the logs of server and worker
    # Each probe of these two imports what a start does, which takes its time.
    one = f"replicas = 1\nresources = {_LITTLE.replace('0.05', '0.4')}\n"
    take(
        small,
        "rlm-runtime",
        {
            'image = "rlm-runtime:latest"': f'image = "{image}"',
            'image = "redis:7"': f'image = "{redis}"',
            'resources = { memory = "512MiB", cpus = 0.5 }\n': f"resources = {_LITTLE}\n",
            'resources = { size = "small" }\n': one,
            'after = ["redis"]': 'after = ["redis", "llama"]',
        },
        more=_MODEL,
    )
    token = "what-a-client-sends"
    small.environ |= {"OPENAI_API_KEY": "a key of the model's", "RLM_SERVER_TOKEN": token}
    small.environ |= {"RLM_MODEL": "openai/gpt-4o", "OPENAI_API_BASE": "http://llama:8081/v1"}
    small.environ |= {"RLM_PATH": "/app/.venv/bin"}

    said = small.ok("up")

    assert token not in said
    status, text = asked(cluster, small, "rlm", "/health")
    assert (status, json.loads(text)["status"]) == (200, "healthy"), text
    prompt = {"prompt": "What is two and two?"}
    assert asked(cluster, small, "rlm", "/completion", *posted(prompt))[0] == 401
    status, text = asked(cluster, small, "rlm", "/completion", *posted(prompt, token))
    assert status == 200, text
    assert json.loads(text)["response"]
    words = ["exec", "deployment/worker", "--", "python", "-m", "src.ask", "What is two and two?"]
    assert small.kubectl(*words).strip()
    assert 'rlm_requests_total{status="ok"} 1.0' in asked(cluster, small, "worker", "/metrics")[1]
    assert small.event("plan")["unchanged"]


def test_a_batch_goes_through_the_worker_of_the_stack_to_its_result_in_the_store(
    small: Declared, cluster: Cluster, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    put_stack_together(context)
    shutil.rmtree(context / "native", ignore_errors=True)
    demanded = ["fastapi", "uvicorn", "boto3", "temporalio"]
    image = image_of(cluster, "localhost/cres:1", context, demanded)
    assert cluster.node
    cluster.node.keep(small.name, 3)  # of the queue, Temporal and the store
    take(
        small,
        "vast-stack",
        {
            f'name = "{small.name}"\n': f'name = "{small.name}"\nimage = "{image}"\n',
            'threads = "auto"': "threads = 1",
            'after = ["llama"]': 'after = ["llama", "temporal"]',
            'after = ["fastapi"]': 'after = ["fastapi", "temporal"]',
            _TARGET: f'{_TARGET}services = ["llama", "fastapi", "worker-cpu", "temporal", "s3", "archiver"]\n',
        },
    )
    small.environ |= {"AWS_ACCESS_KEY_ID": "who-asks", "AWS_SECRET_ACCESS_KEY": "what-nobody-knows"}
    small.environ |= {"STACK_TEMPORAL": "temporal:7233", "STACK_IDLE": "600"}

    small.ok("up")

    status, text = asked(cluster, small, "fastapi", "/health")
    assert (status, json.loads(text)["llama"]) == (200, "up")
    status, text = asked(cluster, small, "fastapi", "/batch", *posted({"mode": "cpu", "prompts": ["Hello"]}))
    assert status == 202, text
    # Nothing in a pod starts others: whoever runs them does, as its file says.
    small.kubectl("scale", "deployment/worker-cpu", "--replicas=1")
    job = json.loads(text)
    flows = ["exec", "deployment/temporal", "--", "temporal", "workflow", "list", "--address", "127.0.0.1:7233"]
    try:
        done = lambda: "completions" in asked(cluster, small, "fastapi", job["at"])[1]  # noqa: E731
        until(done, "the worker does what was handed in", 200)
        kept = lambda: f"cpu/{job['job']} is in results" in small.kubectl("logs", "deployment/archiver")  # noqa: E731
        until(kept, "what it made is in the store", 60)
        ended = lambda: f"Completed  cpu-{job['job']}" in small.kubectl(*flows)  # noqa: E731
        until(ended, "Temporal knows that it is done", 60)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{small.kubectl('get', 'pods')}{small.kubectl('get', 'events')}") from None
    assert small.event("plan")["unchanged"]  # copies of what is on demand are whose who counts them
    assert small.event("status")["state"] == "serving"
