"""Images of services that are no model server alone: built, tried, and run as their users run them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from provision.agent.checks.check import Failed
from provision.images.build.buildah import BuildahBuilder
from provision.images.build.engine import DockerBuilder
from provision.images.build.image import Built
from provision.images.smoke.container import Booted, Limits, booted
from provision.images.smoke.pull import load
from provision.images.smoke.run import Wanted, smoke
from provision.native.model import write_demo_model
from tests.examples.hub import hub, tokenizer
from tests.examples.trainer import trainer
from tests.images.build.make import build_image, own_layers
from tests.native.conftest import Told
from tests.testbed.docker import Engine

PATIENT = Wanted(boot_seconds=900, drain_seconds=120)


@pytest.fixture(scope="module")
def rollout(builder: DockerBuilder, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_image("rollout-server", builder, tmp_path_factory.mktemp("rollout"))


@pytest.fixture(scope="module")
def stack(builder: DockerBuilder, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_image("vast-stack", builder, tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "demo.gguf"
    write_demo_model(file)
    return file


@pytest.fixture
def running(engine: Engine, stack: Built, model: Path) -> Iterator[Booted]:
    """The stack as it runs in production: no network, a root that is read-only, no capabilities."""
    image = load(engine.client, stack.layout, "vast-stack")
    with booted(engine.client, image, model, Limits()) as container:
        until(lambda: container.exec(["probe", "-p", "8000", "/health"]), '"llama":"up"')
        yield container


def until(attempt: Callable[[], str], said: str) -> str:
    """What `attempt` says once `said` is in it."""
    deadline = time.monotonic() + 300
    while True:
        try:
            found = attempt()
        except Failed as failure:
            found = str(failure)
        if said in found:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def tried(engine: Engine, built: Built, model: Path | None = None, wanted: Wanted = PATIENT) -> dict[str, Any]:
    """The checks that the image passed, with what each found."""
    image = load(engine.client, built.layout, built.recipe.name)
    digest = built.layout.manifest.digest
    report = smoke(engine.client, image, built.recipe.name, digest, model, wanted, Told())
    assert report.failed is None, report
    assert engine.client.containers.list(all=True) == []
    assert engine.client.volumes.list() == []
    return {check.name: check.facts for check in report.checks}


def pinned(built: Built) -> set[str]:
    lines = (built.recipe.folder / built.recipe.requirements).read_text().splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line and not line.startswith(" ")}


def packages(built: Built) -> set[str]:
    """The Python packages in the bill of materials."""
    document = json.loads(built.sbom.read_text())
    references = [reference for package in document["packages"] for reference in package.get("externalRefs", [])]
    names = [reference["referenceLocator"].partition("@")[0] for reference in references]
    return {name.removeprefix("pkg:pypi/") for name in names if name.startswith("pkg:pypi/")}


def test_a_server_without_a_model_is_tried_without_a_completion(engine: Engine, rollout: Built) -> None:
    assert list(tried(engine, rollout)) == [
        "boot",
        "not root",
        "healthcheck",
        "http /warm",
        "http /metrics",
        "drain",
    ]


def test_an_image_has_the_packages_that_are_pinned_for_it_and_no_others(rollout: Built) -> None:
    assert packages(rollout) == pinned(rollout)


def test_only_its_volume_belongs_to_the_user_that_it_runs_as(rollout: Built) -> None:
    config = rollout.layout.config["config"]
    entries = {name: entry for layer in own_layers(rollout) for name, entry in layer.items()}

    assert {name: (entry.uid, entry.gid) for name, entry in entries.items() if entry.uid or entry.gid} == {
        "data": (65532, 65532)
    }
    assert "licenses/bitnet-provision.txt" in entries
    assert [name for name in entries if Path(name).parent.name in ("bin", "sbin")] == ["usr/local/bin/probe"]
    assert not [name for name in entries if "__pycache__" in name or Path(name).name in (".env", ".git")]

    assert config["User"] == "65532:65532"
    assert config["Volumes"] == {"/data": {}}
    assert config["Labels"].get("bitnet-provision.secrets", "") == ""


def test_it_starts_with_the_variables_of_its_guide_and_sends_a_trainers_key_back(
    engine: Engine, rollout: Built
) -> None:
    image = load(engine.client, rollout.layout, "rollout-server")
    three = {"TOKENIZER_CACHE_SIZE": "10", "HTTP_CLIENT_TIMEOUT": "600", "TOKENIZER_TRUST_REMOTE_CODE": "true"}
    server = engine.client.containers.run(
        image, name="rollout-server", network_mode="host", environment=three, detach=True
    )
    try:
        booted = Booted(server, ("probe", "-p", "9000"), "http", drains=False)
        until(lambda: booted.ask("/health").text, '{"status":"healthy","service":"rollout-server"')
        with trainer() as asked:
            engine.see(f"127.0.0.1:{asked.port}")
            body = {
                "rollout_id": "one",
                "server_url": f"http://localhost:{asked.port}",
                "callback_api_key": "secret-key-123",
            }
            body["messages"] = [{"role": "user", "content": "Hello"}]
            said = booted.exec(["probe", "-t", "60", "-p", "9000", "/rollout", json.dumps(body)])
        assert json.loads(said)["status"] == "COMPLETED"
        assert asked.bearers == {"Bearer secret-key-123"}
    finally:
        server.remove(force=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_that_writes_to_a_volume_has_the_same_digest_from_both_builders(
    rollout: Built, buildah_with_base: BuildahBuilder, tmp_path: Path
) -> None:
    other = build_image("rollout-server", buildah_with_base, tmp_path)

    assert other.layout.manifest.digest == rollout.layout.manifest.digest


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_volume_with_tokenizers_is_all_that_a_rollout_server_needs(engine: Engine, rollout: Built) -> None:
    image = load(engine.client, rollout.layout, "rollout-server")
    volume = engine.client.volumes.create("tokenizers")
    kept = {"read_only": True, "tmpfs": {"/tmp": ""}, "volumes": {volume.name: {"bind": "/data"}}}
    try:
        with hub() as made:
            name = made.publish("acme/tiny", tokenizer("Hello"))
            engine.see(f"127.0.0.1:{made.port}")
            environ = {"TOKENIZERS": name, "HF_ENDPOINT": made.url}
            fetch = ["python3", "-m", "rollout_server.fetch"]
            said = engine.client.containers.run(
                image, fetch, network_mode="host", environment=environ, remove=True, **kept
            )
        assert said == f"acme/tiny is at {name[10:22]}\n".encode()

        server = engine.client.containers.run(
            image, network_mode="none", environment={"TOKENIZERS": name, "HF_HUB_OFFLINE": "1"}, detach=True, **kept
        )
        try:
            booted = Booted(server, ("probe", "-p", "9000"), "http", drains=False)
            assert '"in_memory":1' in until(lambda: booted.ask("/warm").text, "acme/tiny")
        finally:
            server.remove(force=True)
    finally:
        volume.remove(force=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_stack_passes_as_it_is_and_finishes_what_it_is_asked(engine: Engine, stack: Built, model: Path) -> None:
    passed = tried(engine, stack, model)

    assert list(passed) == [
        *("boot", "not root", "healthcheck", "completion", "metrics"),
        *("command probe -p 8000 /docs", "command supervisorctl start worker-cpu", "drain"),
    ]
    assert passed["drain"]["finished_in_flight"] == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_stack_installs_nothing_and_runs_its_workers_on_demand_without_a_network(running: Booted) -> None:
    programs = {line.split()[0]: line.split()[1] for line in _status(running)}
    assert programs == {
        "llama": "RUNNING",
        "fastapi": "RUNNING",
        "worker-cpu": "STOPPED",
        "worker-gpu": "STOPPED",
        "web": "STOPPED",
    }

    # One is started by hand, the other by the API.
    assert "worker-cpu: started" in running.exec(["supervisorctl", "start", "worker-cpu"])
    for mode in ("cpu", "gpu"):
        batch = json.dumps({"prompts": ["Hello"], "mode": mode})
        job = json.loads(running.exec(["probe", "-t", "60", "-p", "8000", "/batch", batch]))["job"]
        look = partial(running.exec, ["probe", "-p", "8000", f"/jobs/{mode}/{job}"])
        done = until(look, '"state":"done"')
        assert json.loads(done)["completions"][0]

    assert running.container.diff() is None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_recursive_runtime_is_healthy_without_a_docker_daemon_and_answers_a_client(
    engine: Engine, builder: DockerBuilder, tmp_path: Path
) -> None:
    built = build_image("rlm-runtime", builder, tmp_path)

    passed = tried(engine, built)

    assert list(passed)[:2] == ["not root", "healthcheck"]
    assert passed["command /opt/rlm-runtime/greet"]["output"].startswith('"serverInfo":{"name":"rlm-runtime"')
    assert packages(built) == pinned(built)

    # Without a client on standard input it serves HTTP, and says what it can't reach: here the provider.
    image = load(engine.client, built.layout, "rlm-runtime")
    kept = {"read_only": True, "tmpfs": {"/tmp": ""}, "cap_drop": ["ALL"]}
    server = engine.client.containers.run(image, network_mode="none", detach=True, **kept)
    try:
        booted = Booted(server, ("probe", "-p", "8080"), "http", drains=False)
        found = until(lambda: booted.exec(["sh", "-c", 'python3 -c "$0" || true', _HEALTH]), '"version"')
        assert json.loads(found)["components"] == {"llm": "unhealthy", "repl": "healthy", "storage": "healthy"}
        assert "rlm_requests_total" in booted.exec(["probe", "-p", "8000", "/metrics"])
    finally:
        server.remove(force=True, v=True)


# An answer of 503 has a body, too, which the probe does not show.
_HEALTH = """
import http.client
asked = http.client.HTTPConnection("127.0.0.1", 8080, timeout=90)
asked.request("GET", "/health")
print(asked.getresponse().read().decode())
"""


def _status(running: Booted) -> list[str]:
    # Its exit status tells of programs that are stopped.
    return running.exec(["sh", "-c", "supervisorctl status || true"]).splitlines()
