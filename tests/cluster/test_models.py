"""A model server as a pod: llama-server, proven by a completion through a forwarded port."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.cluster.declared import LLAMA, Declared
from tests.cluster.given import with_its_own
from tests.cluster.running import Cluster

pytestmark = [pytest.mark.slow, with_its_own]

_MODEL = """\
[project]
name = "{name}"
image = "{image}"

"""


def declare(small: Declared, cluster: Cluster, tag: str, model: Path) -> None:
    """The project with an image that has llama-server and `model`, and nothing else."""
    files = {"build/bin/llama-server": llama_server(small.root / "native"), "models/model.gguf": model}
    assert cluster.node
    image = cluster.node.load(f"localhost/llama:{tag}", files)
    (small.root / "deploy.toml").write_text(
        (_MODEL + LLAMA).format(name=small.name, image=image, model="models/model.gguf")
    )


def completed(small: Declared, cluster: Cluster) -> int:
    """Tokens of an answer, asked past everything of ours at the address of the pod."""
    pods = json.loads(small.kubectl("get", "pods", "-l", "app.kubernetes.io/name=llama", "-o", "json"))["items"]
    (address,) = (each["status"]["podIP"] for each in pods if "deletionTimestamp" not in each["metadata"])
    body = json.dumps({"prompt": "Hello", "n_predict": 4})
    words = ["curl", "-sSf", "-m", "60", "-H", "Content-Type: application/json", "-d", body]
    command = [*cluster.inside(), *words, f"http://{address}:8081/completion"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    tokens: int = told["tokens_predicted"]
    return tokens


def test_a_model_server_answers_and_one_whose_model_is_broken_is_put_back(
    small: Declared, cluster: Cluster, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole.gguf", tmp_path / "broken.gguf"
    write_demo_model(whole)
    broken.write_bytes(whole.read_bytes()[:100_000])
    declare(small, cluster, "whole", whole)

    small.ok("up")

    assert completed(small, cluster) == 4
    assert small.event("plan")["unchanged"]
    before = small.kubectl("get", "deployment", "llama", "-o", "jsonpath={.spec.template}")
    declare(small, cluster, "broken", broken)
    failed = small.run("up")
    assert failed.returncode == 1, failed.stderr
    assert "serves, proven again" in failed.stderr
    assert "CrashLoopBackOff" in failed.stderr
    assert small.kubectl("get", "deployment", "llama", "-o", "jsonpath={.spec.template}") == before
    assert completed(small, cluster) == 4
    assert small.event("status")["state"] == "serving"
