"""The guide for Vast.ai, step by step, against a machine as it is rented: root, supervisord, a key nobody knows yet."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.cli.ports import free_ports
from tests.documents.vast import EXAMPLE, LOADED, ROOT, Stack, equip, instance_packages, stack, with_gpu
from tests.examples.sandbox import sandbox
from tests.testbed import TestHost
from tests.testbed.fixtures import MakeHost
from tests.testbed.kinds import Kind
from tests.testbed.slots import Slot

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def rented(slot: Slot) -> Iterator[TestHost]:
    host = TestHost(Kind.SUPERVISORD, slot)
    try:
        equip(host)
        yield host
    finally:
        host.destroy()


@pytest.fixture(scope="module")
def deployed(rented: TestHost, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """After `cp .env.example .env`, the three lines filled in, and `./deploy_vast.sh`."""
    made = stack(rented, tmp_path_factory.mktemp("vast") / "stack")
    assert made.deploy_vast("--trust") == 0, made.told
    return made


def test_its_services_are_started_by_supervisord_and_the_web_is_off(deployed: Stack) -> None:
    activities = {name: seen["activity"] for name, seen in deployed.programs().items()}
    assert activities["llama"] == activities["fastapi"] == "running"
    assert activities["web"] == "stopped"
    assert "passed: fastapi http /docs" in deployed.told


def test_each_worker_has_run_a_batch_before_the_release_counted_and_again_from_outside(deployed: Stack) -> None:
    for mode in ("cpu", "gpu"):
        assert deployed.told.count(f"passed: worker-{mode} batch http://127.0.0.1:8000/batch") == 2
    results = deployed.host.exec(["sh", "-c", "cat /workspace/cres/shared/jobs/*/done/*"]).stdout
    assert results.count('"completions"') == 4


def test_it_says_how_to_reach_the_documentation_of_the_api_through_ssh(deployed: Stack) -> None:
    assert "-L 8000:127.0.0.1:8000" in deployed.told
    status, _, said = deployed.ask("/docs")
    assert (status, "swagger" in said.lower()) == (200, True)


def test_the_web_is_on_port_3000_once_it_is_wanted(deployed: Stack) -> None:
    deployed.ctl("start", "web")
    assert "started" in deployed.ctl("start", "web") or "runs already" in deployed.ctl("start", "web")
    wait_for(lambda: deployed.ask("/", port=3000)[0] == 200)
    deployed.ctl("stop", "web")


@pytest.mark.parametrize(
    ("path", "body", "completions"),
    [("/batch", {"prompts": ["Hello", "World"]}, 2), ("/process", {"prompt": "Hello", "mode": "cpu"}, 1)],
)
def test_work_that_is_handed_in_starts_its_worker(deployed: Stack, path: str, body: dict, completions: int) -> None:
    worker = f"worker-{body.get('mode', 'gpu')}"
    deployed.ctl("stop", worker)

    status, location, said = deployed.ask(path, body)

    assert (status, json.loads(said)["worker"]) == (202, "runs")
    assert deployed.programs()[worker]["activity"] == "running"
    wait_for(lambda: deployed.ask(location)[0] == 200)
    assert len(json.loads(deployed.ask(location)[2])["completions"]) == completions


def test_work_is_accepted_though_its_worker_cannot_be_started(deployed: Stack) -> None:
    """The failure is in the answer and in the log, and the next worker that starts finds the work."""
    deployed.ctl("stop", "worker-cpu")
    ctl = "/workspace/cres/deploy-ctl"
    deployed.host.exec(["mv", ctl, f"{ctl}.away"])
    try:
        status, location, said = deployed.ask("/batch", {"prompts": ["Hello"], "mode": "cpu"})
    finally:
        deployed.host.exec(["mv", f"{ctl}.away", ctl])

    accepted = json.loads(said)
    assert (status, accepted["worker"], accepted["at"]) == (202, "not started", location)
    assert "No such file" in accepted["why"]
    assert accepted["job"] in deployed.deploy("logs", "fastapi")
    assert deployed.ask(location)[0] == 202
    assert json.loads(deployed.ask("/queues")[2])["cpu"] == {"waiting": 1, "running": 0}
    deployed.ctl("start", "worker-cpu")
    wait_for(lambda: deployed.ask(location)[0] == 200)


@pytest.mark.parametrize("name", ["0000000000000000", "..%2f..%2fetc", "x"])
def test_a_job_that_is_not_there_is_404(deployed: Stack, name: str) -> None:
    assert deployed.ask(f"/jobs/gpu/{name}")[0] == 404


def test_the_api_starts_no_program_of_a_caller_s_choosing(deployed: Stack) -> None:
    assert deployed.ask("/batch", {"prompts": ["Hello"], "mode": "llama"})[0] == 422


def test_a_changed_line_restarts_the_api_and_not_the_model(deployed: Stack) -> None:
    before = deployed.programs()
    main = deployed.folder / "src" / "api" / "main.py"
    main.write_text(main.read_text() + "\n# a comment\n")

    assert deployed.deploy_vast() == 0, deployed.told

    after = deployed.programs()
    assert after["llama"]["pid"] == before["llama"]["pid"]
    assert after["fastapi"]["pid"] != before["fastapi"]["pid"]


# With a GPU: stand-ins for nvidia-smi, and for the lines that a build with CUDA says. None is where these tests run.


def test_a_machine_with_a_gpu_serves_from_it_by_its_image_s_own_server(deployed: Stack, tmp_path: Path) -> None:
    with_gpu(deployed.host, llama_server(tmp_path), LOADED.format(layers=9, mib="2.71"))

    assert deployed.deploy_vast() == 0, deployed.told

    assert "NVIDIA GeForce RTX 4090: the model is served from it, by engine image" in deployed.told
    assert "TQ2_0 tensors, which have no CUDA kernels" in deployed.told
    assert (deployed.folder / ".env").read_text().endswith("\nSTACK_ENGINE=image\n")
    pid = deployed.programs()["llama"]["pid"]
    words = deployed.host.exec(["cat", f"/proc/{pid}/cmdline"]).stdout
    assert "--n-gpu-layers\0auto\0" in words
    assert "passed: llama gpu auto" in deployed.told
    declared = deployed.folder / "deploy.toml"
    was = declared.read_text()
    declared.unlink()
    assert "found model" in deployed.run("init", "--yes")
    assert 'binary = "/app/llama-server"' in declared.read_text()
    declared.write_text(was)
    assert "TQ2_0 tensors, which have no CUDA kernels" in deployed.deploy("check")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "does not say that a layer lies on it: it has no CUDA, or found no driver"),
        (LOADED.format(layers=0, mib="0.00"), "0 of 9 layers are on the GPU, with 0 of 5 MiB; auto are demanded"),
    ],
    ids=["silence", "none"],
)
def test_a_model_that_stays_on_the_cpu_of_such_a_machine_is_refused(
    make_host: MakeHost, tmp_path: Path, said: str, why: str
) -> None:
    host = make_host(Kind.SUPERVISORD)
    equip(host)
    with_gpu(host, llama_server(tmp_path), said)
    made = stack(host, tmp_path / "stack")

    assert made.deploy_vast("--trust") == 1, made.told

    assert why in made.told


def test_an_instance_has_50_gb_at_least() -> None:
    targets = tomllib.loads((EXAMPLE / "deploy.toml").read_text())["targets"]
    assert targets["vast"]["disk"] == targets["vast-full"]["disk"] == "50GB"


def test_a_disk_that_is_too_small_is_refused_before_anything_is_sent(deployed: Stack) -> None:
    declared = deployed.folder / "deploy.toml"
    was = declared.read_text()
    declared.write_text(was.replace('disk = "1GB"', 'disk = "900TB"').replace('"Hello"', '"Hi"'))
    try:
        assert deployed.deploy_vast() == 4
        assert "GB, and targets.vast.disk demands 900000.0 GB." in deployed.told
    finally:
        declared.write_text(was)


def test_what_an_instance_runs_with_is_pinned_and_nothing_is_installed_after_a_deploy() -> None:
    declared = tomllib.loads((EXAMPLE / "deploy.toml").read_text())
    assert "prepare" not in declared
    assert declared["targets"]["vast"]["prepare"] is False
    asked = {line for line in (EXAMPLE / "requirements.instance.in").read_text().split("\n") if line.isidentifier()}
    pinned = (ROOT / "images" / "vast-stack" / "requirements.instance.txt").read_text()
    assert asked and all(f"\n{name}==" in f"\n{pinned}" for name in asked)


def wait_for(holds) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_temporal_hands_jobs_to_workers_and_results_are_in_the_store_whose_console_is_on_9001(tmp_path: Path) -> None:
    """The target vast-full, on the sandbox, with the real servers."""
    ports = dict(zip(("llama", "fastapi", "web", "temporal", "s3", "console"), free_ports(6), strict=True))
    pure = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3")
    for name in pure:
        (tmp_path / "instance").mkdir(exist_ok=True)
        (tmp_path / "instance" / name).symlink_to(instance_packages() / name)
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "STACK_PYTHON": str(tmp_path / "python"),
        "STACK_TEMPORAL": f"127.0.0.1:{ports['temporal']}",
        "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "WEED_ADMIN_PASSWORD": secrets.token_hex(8),
    }
    (tmp_path / "python").write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/instance:. exec {sys.executable} "$@"\n')
    (tmp_path / "python").chmod(0o755)
    with sandbox(environ) as made:
        made.environ["STACK_PLACE"] = str(made.place)
        shutil.copytree(EXAMPLE, made.root, ignore=shutil.ignore_patterns(".deploy", "build", "models"))
        write_demo_model(made.root / "models" / "model.gguf")
        declared = (made.root / "deploy.toml").read_text()
        head, _, sandboxed = declared.partition("[targets.sandbox]")
        declared = head + "[targets.sandbox]" + sandboxed.replace("services = [", "# services = [")
        for was, service in {"8081": "llama", "8000": "fastapi", "3000": "web", "9001": "console"}.items():
            declared = declared.replace(f"\nport = {was}\n", f"\nport = {ports[service]}\n")
        for service in ("temporal", "s3"):
            declared = declared.replace(f'preset = "{service}"', f'preset = "{service}"\nport = {ports[service]}')
        (made.root / "deploy.toml").write_text(declared)

        made.deploy("up")

        made.deploy("smoke")
        address = f"http://127.0.0.1:{ports['fastapi']}"
        body = json.dumps({"prompts": ["Hello"], "mode": "cpu"}).encode()
        request = urllib.request.Request(f"{address}/batch", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            accepted = json.load(answer)
        assert accepted["worker"] == "runs", accepted
        wait_for(lambda: urllib.request.urlopen(f"{address}{accepted['at']}", timeout=20).status == 200)
        listed = subprocess.run(
            ["temporal", "workflow", "list", "--address", environ["STACK_TEMPORAL"], "--output", "json"],
            env={**os.environ, "PATH": environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert f"cpu-{accepted['job']}" in listed
        wait_for(lambda: f"cpu/{accepted['job']} is in results" in made.deploy("logs", "archiver"))
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['console']}/login", timeout=20) as answer:
            assert "password" in answer.read().decode().lower()
