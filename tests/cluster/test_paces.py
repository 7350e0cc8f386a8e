"""Tokens a second of two real engines, as a real Prometheus reads them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from provision.cluster.project_there import ProjectThere
from provision.cluster.traffic.figures import Counting
from provision.native.model import write_demo_model
from provision.project import load
from provision.project.rollout import Figures
from tests.binaries import llama_server
from tests.cli.ports import free_ports
from tests.faults.hooks import until

pytestmark = pytest.mark.slow

_SECONDS = 40  # more than two comparisons take
_TOML = """\
[project]
name = "cres"
image = "ghcr.io/acme/cres@sha256:{digest}"
[services.llm]
preset = "bitnet-server"
model = "models/m.gguf"
[targets.k8s]
platform = "kubernetes"
[targets.k8s.rollout]
steps = ["10%"]
abort = {{ tokens_per_second = "-20%" }}
prometheus = "http://127.0.0.1:{port}"
"""


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[tuple[Counting, dict[str, int]]]:
    """What Prometheus counts of two engines that nobody has asked yet, and their ports."""
    model, disk = tmp_path / "m.gguf", tmp_path / "tsdb"
    write_demo_model(model)
    binary = llama_server(tmp_path / "native")
    stable, canary, own = free_ports(3)
    ports = {"llm": stable, "llm-canary": canary}
    looked = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "cres", "service": service}}
        for service, port in ports.items()
    ]
    seconds = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    config = {"global": seconds, "scrape_configs": [{"job_name": "engines", "static_configs": looked}]}
    (tmp_path / "prometheus.json").write_text(json.dumps(config))
    commands = [[str(binary), "-m", str(model), "--port", str(port), "--metrics", "-t", "1"] for port in ports.values()]
    options = (f"--config.file={tmp_path}/prometheus.json", f"--storage.tsdb.path={disk}")
    commands.append([shutil.which("prometheus") or "prometheus", *options, f"--web.listen-address=127.0.0.1:{own}"])
    with ExitStack() as stack:
        for command in commands:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = stack.enter_context(subprocess.Popen(command, cwd=tmp_path, **quiet))
            stack.callback(process.kill)
        for url in (*(f"http://127.0.0.1:{port}/health" for port in ports.values()), f"http://127.0.0.1:{own}/-/ready"):
            until(lambda url=url: answers(url), url, 60)
        (tmp_path / "deploy.toml").write_text(_TOML.format(digest="a" * 64, port=own))
        there = ProjectThere(load(tmp_path, target="k8s", demand_secrets=False), "k8s", lambda _: None)
        up = lambda: len(there.prometheus.ask("up == 1")["result"]) == len(ports)  # noqa: E731
        until(up, "Prometheus to look at both", 60)
        yield Counting(there.prometheus, Figures(), "cres"), ports


def test_engines_are_compared_time_by_time_by_the_tokens_that_they_count(
    counting: tuple[Counting, dict[str, int]],
) -> None:
    counts, ports = counting
    time.sleep(3)  # a sample of each from before
    began = counts.now()
    while counts.now() - began < _SECONDS:
        for port in ports.values():
            body = json.dumps({"prompt": "Hello", "n_predict": 8, "ignore_eos": True}).encode()
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/completion", body)
            with urllib.request.urlopen(asked, timeout=60) as answer:
                assert json.load(answer)["tokens_predicted"] == 8
    time.sleep(2)

    paces = counts.paces("llm-canary", "llm", began, counts.now(), is_engine=True)

    assert paces is not None
    assert paces.total >= 2
    assert 0.2 < (paces.quantile(0.5) or 0) < 5  # they are the same
    silent = counts.paces("llm-canary", "gone", began, counts.now(), is_engine=True)
    assert silent is not None
    assert silent.total == 0  # an engine that nobody looks at leaves a step open
    assert counts.paces("web-canary", "web", began, counts.now(), is_engine=False) is None
