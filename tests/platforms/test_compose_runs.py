"""What is rendered for Compose is run by Compose, on an engine, as people do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.cli.main import main
from tests.deploy.newcomer import PROBE
from tests.faults.hooks import until
from tests.manifests.compose.composer import docker_compose
from tests.platforms.stacks import EXAMPLES, packages, put_stack_together
from tests.testbed.docker import Engine
from tests.testbed.rootfs import debian
from tests.testbed.slots import Slot

pytestmark = [pytest.mark.root, pytest.mark.slow]

_BASE = "compose-base:1"
_DOCKERFILE = f"FROM {_BASE}\nWORKDIR /app\nCOPY app.py ./\nUSER 1000:1000\n"
_ROLLOUT = f"""\
FROM {_BASE}
WORKDIR /app
COPY src src
RUN python3 -m venv --without-pip .venv && mkdir -p /srv/rollout-server/shared/huggingface \\
 && chown 10001:10001 /srv/rollout-server/shared/huggingface
COPY packages .venv/lib/PYTHON/site-packages
"""
_RLM = f"""\
FROM {_BASE}
WORKDIR /app
COPY src src
RUN python3 -m venv --without-pip .venv && mkdir -p /srv/rlm/shared/logs/rlm \\
 && chown 10001:10001 /srv/rlm/shared/logs/rlm
COPY packages .venv/lib/PYTHON/site-packages
COPY scripts .venv/bin
"""
_STACK = f"""\
FROM {_BASE}
WORKDIR /app
COPY bin /usr/local/bin
COPY build build
RUN python3 -m venv --without-pip .venv && mkdir -p /srv/cres/shared/jobs /srv/cres/shared/data \\
 && chown 10001:10001 /srv/cres/shared/jobs /srv/cres/shared/data
ENV PATH=/app/.venv/bin:/usr/local/bin:/usr/bin:/bin
COPY packages .venv/lib/PYTHON/site-packages
COPY models models
COPY src src
"""


@pytest.fixture
def engine(slot: Slot) -> Iterator[Engine]:
    engine = Engine(slot)
    try:
        engine.take_base(_BASE)
        yield engine
    finally:
        engine.destroy()


def compose(engine: Engine, folder: Path, *words: str) -> str:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [docker_compose(), "--file", folder / "compose.yaml", *words]
        environ = {"DOCKER_HOST": engine.url, "HOME": str(folder), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=180, check=False)

    done = run(*words)
    if done.returncode:
        asked = [[each.name, each.attrs["State"].get("Health")] for each in engine.client.containers.list(all=True)]
        raise AssertionError(f"{done.stderr}\n{json.dumps(asked)}\n{run('logs', '--tail', '20').stdout}")
    return done.stdout


def render(example: Path, folder: Path) -> None:
    with contextlib.chdir(example), contextlib.redirect_stdout(io.StringIO()) as written:
        assert main(["render", "compose"]) == 0
    (folder / "compose.yaml").write_text(written.getvalue())


def ask(engine: Engine, *words: str) -> str:
    command = ["nsenter", f"--net=/run/netns/{engine.name}", "curl", "-sS", "-m", "10", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def probed(engine: Engine) -> str:
    return engine.client.containers.run(_BASE, ["python3", "-c", PROBE], remove=True).decode()


def keep_secrets(folder: Path, *names: str) -> None:
    """As the head of compose.yaml says: each in a file that user 10001 alone can read."""
    (folder / "secrets").mkdir()
    for name in names:
        file = folder / "secrets" / name
        file.write_text(f"{name} of this stack")
        os.chown(file, 10001, -1)
        file.chmod(0o400)


def test_the_stack_of_a_rented_machine_becomes_healthy_and_a_batch_goes_through_worker_and_store(
    engine: Engine, tmp_path: Path
) -> None:
    """With one thread for the model: more of them than there are cores stand in each other's way."""
    example, context = tmp_path / "example", tmp_path / "context"
    shutil.copytree(EXAMPLES / "vast-stack", example, ignore=shutil.ignore_patterns("build", "models"))
    declared = (example / "deploy.toml").read_text()
    assert 'threads = "auto"' in declared
    (example / "deploy.toml").write_text(declared.replace('threads = "auto"', "threads = 1"))
    put_stack_together(context)
    demanded = (example / "requirements.instance.in").read_text().splitlines()
    wanted = [each for each in demanded if each in ("fastapi", "uvicorn", "boto3", "temporalio")]
    assert len(wanted) == 4
    (context / "Dockerfile").write_text(_STACK.replace("PYTHON", packages(probed(engine), wanted, context)))
    engine.client.images.build(path=str(context), tag="cres:latest", rm=True)
    render(example, tmp_path)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    keep_secrets(tmp_path, *names, "WEED_ADMIN_PASSWORD")
    for name in names:  # which may have no blank: they are part of a header
        (tmp_path / "secrets" / name).write_text(f"{name}-of-this-stack")
    # The store's console is for hosts: it asks the store at ports that no other container reaches.
    services = ["llama", "fastapi", "temporal", "s3", "archiver"]

    compose(engine, tmp_path, "up", "--detach", "--wait", "--wait-timeout", "170", *services)

    states = {
        each.labels["com.docker.compose.service"]: each.attrs["State"] for each in engine.client.containers.list()
    }
    assert set(states) == {*services}
    healthy = {name for name, state in states.items() if state.get("Health", {}).get("Status") == "healthy"}
    assert healthy == {*states} - {"archiver"}
    assert json.loads(ask(engine, "-f", "http://127.0.0.1:8000/health"))["llama"] == "up"
    batch = ["-H", "Content-Type: application/json", "-d", '{"mode": "cpu", "prompts": ["Hello"]}']
    taken = json.loads(ask(engine, "-f", "-X", "POST", *batch, "http://127.0.0.1:8000/batch"))

    # Nothing in a container starts others: whoever runs them does, by name.
    compose(engine, tmp_path, "up", "--detach", "worker-cpu")
    (archiver,) = engine.client.containers.list(filters={"label": "com.docker.compose.service=archiver"})
    try:
        done = lambda: "completions" in ask(engine, "-f", f"http://127.0.0.1:8000{taken['at']}")  # noqa: E731
        until(done, "the worker does what was handed in", 200)
        until(lambda: b" is in results" in archiver.logs(), "what it made is in the store", 60)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{compose(engine, tmp_path, 'logs', '--tail', '20')}") from None
    compose(engine, tmp_path, "--profile", "*", "down", "--volumes")
    assert engine.client.containers.list(all=True) == []


def test_the_minimal_example_starts_becomes_healthy_answers_and_is_taken_down(engine: Engine, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    shutil.copy(EXAMPLES / "minimal" / "app.py", context)
    (context / "Dockerfile").write_text(_DOCKERFILE)
    engine.client.images.build(path=str(context), tag="minimal:latest", rm=True)
    render(EXAMPLES / "minimal", tmp_path)

    compose(engine, tmp_path, "up", "--detach", "--wait", "--wait-timeout", "60")

    (web,) = engine.client.containers.list()
    assert web.attrs["State"]["Health"]["Status"] == "healthy"
    assert "Hello" in ask(engine, "-f", "http://127.0.0.1:8000/")
    compose(engine, tmp_path, "down")
    assert engine.client.containers.list(all=True) == []


def test_the_rollout_example_becomes_healthy_and_knows_its_trainers_by_their_key(
    engine: Engine, tmp_path: Path
) -> None:
    """Its medium size, which is four cores, is more than some machines have; here it is the small one."""
    example = tmp_path / "example"
    shutil.copytree(EXAMPLES / "rollout-server", example)
    declared = (example / "deploy.toml").read_text()
    assert 'size = "medium"' in declared
    (example / "deploy.toml").write_text(declared.replace('size = "medium"', 'size = "small"'))
    context = tmp_path / "context"
    shutil.copytree(example / "src", context / "src")
    demanded = tomllib.loads((example / "pyproject.toml").read_text())["project"]["dependencies"]
    (context / "Dockerfile").write_text(_ROLLOUT.replace("PYTHON", packages(probed(engine), demanded, context)))
    engine.client.images.build(path=str(context), tag="rollout-server:latest", rm=True)
    render(example, tmp_path)
    keep_secrets(tmp_path, "ROLLOUT_API_KEY", "ROLLOUT_CALLBACK_KEY")

    compose(engine, tmp_path, "up", "--detach", "--wait", "--wait-timeout", "120")

    assert json.loads(ask(engine, "-f", "http://127.0.0.1:9000/health"))["status"] == "healthy"
    code = ("-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "http://127.0.0.1:9000/rollout")
    assert ask(engine, *code) == "401"
    assert ask(engine, "-H", "Authorization: Bearer ROLLOUT_API_KEY of this stack", *code) == "422"
    compose(engine, tmp_path, "down", "--volumes")
    assert engine.client.containers.list(all=True) == []


def test_the_rlm_example_becomes_healthy_with_its_queue_and_its_worker(engine: Engine, tmp_path: Path) -> None:
    """Its provider is the real one, which nobody reaches here: that part of /health says so."""
    redis = debian("compose-redis", ["redis-server"])
    engine.client.api.import_image_from_file(str(redis), repository="redis", tag="7")
    example, context = EXAMPLES / "rlm-runtime", tmp_path / "context"
    shutil.copytree(example / "src", context / "src")
    python = packages(probed(engine), (example / "requirements.txt").read_text().splitlines(), context)
    (context / "Dockerfile").write_text(_RLM.replace("PYTHON", python))
    engine.client.images.build(path=str(context), tag="rlm-runtime:latest", rm=True)
    render(example, tmp_path)
    keep_secrets(tmp_path, "OPENAI_API_KEY", "RLM_SERVER_TOKEN")

    compose(engine, tmp_path, "up", "--detach", "--wait", "--wait-timeout", "170")

    health = json.loads(ask(engine, "-m", "60", "http://127.0.0.1:8080/health"))
    assert (health["components"]["repl"], health["components"]["storage"]) == ("healthy", "healthy"), health
    code = ("-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "http://127.0.0.1:8080/completion")
    assert ask(engine, *code) == "401"
    assert "rlm_queue_depth 0" in ask(engine, "-f", "http://127.0.0.1:9500/metrics")
    compose(engine, tmp_path, "down", "--volumes")
    assert engine.client.containers.list(all=True) == []
