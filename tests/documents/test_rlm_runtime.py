"""The guide to deploying the RLM runtime, step by step: its names, ports, bodies and numbers.

The package is the real one, in an environment of its own; the model is ours, and so is the S3 store (SeaweedFS).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from tests.cli.ports import free_ports
from tests.documents.rlm_service import EXAMPLE, TOKEN, Service, service, surroundings
from tests.examples.model_api import TOKENS, Provider, provider
from tests.manifests.serverless.runtime_api import RuntimeApi
from tests.testbed.answering import until
from tests.testbed.seaweed import seaweed

# The packages are 700 MB, and take minutes to come where no cache has them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the image's packages, then those of the tests."""
    place = tmp_path_factory.mktemp("packages") / "env"
    uv = [Path(sys.executable).with_name("uv")]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, place], check=True)
    python = str(place / "bin" / "python")
    packages = ["--requirement", ROOT / "images/rlm-runtime/requirements.txt"]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)
    found = next(place.glob("lib/python*/site-packages"))
    (found / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture
def model() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def running(python: str, model: Provider, tmp_path: Path) -> Iterator[Service]:
    with service(python, model, tmp_path) as made:
        yield made


def test_health_names_status_version_and_three_components(running: Service) -> None:
    said = httpx.get(f"{running.url}/health", timeout=60)

    assert said.status_code == 200
    assert said.json() == {
        "status": "healthy",
        "version": "2.1.3",
        "components": {"llm": "healthy", "repl": "healthy", "storage": "healthy"},
    }


@pytest.mark.parametrize(
    ("broken", "environ"),
    [
        ("llm", {"OPENAI_API_KEY": "another key"}),
        ("repl", {"RLM_ENVIRONMENT": "docker", "DOCKER_HOST": "unix:///nonexistent/docker.sock"}),
        ("storage", {"RLM_LOG_BUCKET": "logs", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_REGION": "x"}),
    ],
)
def test_health_asks_each_component_and_says_which_is_not_there(
    broken: str, environ: dict[str, str], python: str, model: Provider, tmp_path: Path
) -> None:
    with service(python, model, tmp_path, **environ) as running:
        said = httpx.get(f"{running.url}/health", timeout=60)

        assert said.status_code == 503
        assert said.json()["status"] == "unhealthy"
        assert [name for name, word in said.json()["components"].items() if word == "unhealthy"] == [broken]
        assert {line["component"] for line in running.log if line["event"] == "unhealthy"} == {broken}


def test_a_completion_is_answered_counted_by_the_documents_names_and_logged_without_its_prompt(
    running: Service,
) -> None:
    said = running.ask("What is the number of the beast?")

    assert (said.status_code, said.json()["response"]) == (200, "four")
    number = said.json()["trajectory_id"]
    counted = running.counted()
    assert counted['rlm_requests_total{status="ok"}'] == 1
    assert counted["rlm_request_duration_seconds_count"] == 1
    assert (counted["rlm_tokens_used_total_count"], counted["rlm_tokens_used_total_sum"]) == (1, TOKENS)
    assert counted['rlm_tokens_used_total_bucket{le="50.0"}'] == 1
    assert counted["rlm_cost_usd_total"] > 0

    (line,) = [line for line in running.log if line["event"] == "completion"]
    assert (line["trajectory_id"], line["level"], line["status"], line["tokens"]) == (number, "info", "ok", TOKENS)
    assert "beast" not in (running.folder / "log").read_text()
    assert "beast" in (running.folder / "logs" / f"{number}.jsonl").read_text()


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b'{"prompt": " "}', 422), (b"[]", 422), (b'"' + b"a" * (5 << 20) + b'"', 413)]
)
def test_what_is_no_prompt_is_refused(running: Service, body: bytes, status: int) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}

    assert httpx.post(f"{running.url}/completion", content=body, headers=headers).status_code == status


def test_only_who_has_the_token_is_answered_and_health_needs_none(running: Service) -> None:
    assert [running.ask(token=token).status_code for token in ("", "another")] == [401, 401]
    assert [httpx.post(f"{running.url}{path}").status_code for path in ("/mcp", "/metrics")] == [401, 401]
    assert httpx.get(f"{running.url}/health", timeout=60).status_code == 200


def test_without_a_token_this_machine_is_answered_and_no_page_in_its_browser(
    python: str, model: Provider, tmp_path: Path
) -> None:
    with service(python, model, tmp_path, RLM_SERVER_TOKEN="") as running:
        assert running.ask(token="").status_code == 200
        page = {"Origin": "https://example.org"}
        assert httpx.post(f"{running.url}/completion", json={"prompt": "a"}, headers=page).status_code == 403
        far = {"X-Forwarded-For": "93.184.216.34"}
        assert httpx.post(f"{running.url}/completion", json={"prompt": "a"}, headers=far).status_code == 403
        names = ["rlm:8080", "[::1]:8080", "rlm.tools.svc.cluster.local", "localhost"]
        names += ["example.org", "127.0.0.1.example.org:80"]  # whoever owns such a name makes it point here
        asked = [httpx.get(f"{running.url}/metrics", headers={"Host": name}).status_code for name in names]
        assert asked == [200, 200, 200, 200, 403, 403]
        assert any("no RLM_SERVER_TOKEN" in line["event"] for line in running.log)


def test_two_hundred_at_once_are_answered_and_the_next_is_told_to_come_back(running: Service, model: Provider) -> None:
    model.at_once = threading.Barrier(201)
    with ThreadPoolExecutor(200) as pool:
        asked = [pool.submit(running.ask, f"prompt {number}") for number in range(200)]
        until(lambda: running.counted()["rlm_running"] == 200, running.process, running.folder / "log")

        late = running.ask()

        model.at_once.wait(60)
        assert [each.result().status_code for each in asked] == [200] * 200
    assert (late.status_code, late.headers["retry-after"]) == (429, "5")


def test_calls_that_fail_are_tried_again_and_no_more_often_than_declared(
    python: str, model: Provider, tmp_path: Path
) -> None:
    with service(python, model, tmp_path, RLM_API_RETRIES="2") as running:
        model.broken = 2
        assert running.ask().json()["response"] == "four"
        model.broken = 3
        said = running.ask()

    assert said.status_code == 502
    assert "overloaded" not in said.text
    assert len(model.asked) == 6


def test_the_same_prompt_is_answered_from_the_cache_where_one_is_declared(
    python: str, model: Provider, tmp_path: Path
) -> None:
    with service(python, model, tmp_path, RLM_CACHE_SECONDS="600") as running:
        assert [running.ask().json()["response"] for _ in range(3)] == ["four"] * 3

    assert len(model.asked) == 1


def test_a_limit_that_is_declared_ends_a_completion_and_is_told(python: str, model: Provider, tmp_path: Path) -> None:
    with service(python, model, tmp_path, RLM_MAX_DEPTH="0") as running:
        said = running.ask()

    assert (said.status_code, model.asked) == (422, [])
    assert said.json()["error"].startswith("Maximum recursion depth exceeded")


_CLIENTS = """
import asyncio, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

async def said(session, tool, **arguments):
    result = await session.call_tool(tool, arguments)
    return result.content[0].text.strip()

async def main(url, token):
    async with streamablehttp_client(url, {"Authorization": f"Bearer {token}"}) as (reads, writes, _):
        async with ClientSession(reads, writes) as one:
            print((await one.initialize()).serverInfo.name)
            print(await said(one, "execute_python", code="print(6 * 7)"))
            await said(one, "set_repl_context", key="mine", value="1")
            print("mine" in await said(one, "get_repl_context"))
            print(await said(one, "rlm_agent_run", task="spend"))
            async with streamablehttp_client(url, {"Authorization": f"Bearer {token}"}) as (reads, writes, _):
                async with ClientSession(reads, writes) as other:
                    await other.initialize()
                    print("mine" in await said(other, "get_repl_context"))

asyncio.run(main(*sys.argv[1:]))
"""


def test_mcp_clients_run_code_over_http_each_with_variables_of_its_own(python: str, running: Service) -> None:
    done = subprocess.run(
        [python, "-c", _CLIENTS, f"{running.url}/mcp", TOKEN], capture_output=True, text=True, check=True
    )

    name, answer, own, agent, others = done.stdout.splitlines()
    assert (name, answer, own, others) == ("rlm-runtime", "42", "True", "False")
    assert agent.startswith("Error: this server runs no agents")


def test_trajectories_go_to_the_store_and_come_back_and_are_searched_for_secrets(
    python: str, model: Provider, tmp_path: Path
) -> None:
    def run(*words: str, folder: str = "logs") -> subprocess.CompletedProcess[str]:
        environ = surroundings(model, {**store, "RLM_LOG_DIR": str(tmp_path / folder)})
        return subprocess.run([python, *words], cwd=EXAMPLE, env=environ, capture_output=True, text=True, check=False)

    with seaweed(tmp_path) as store:
        made = run("-c", "import boto3; boto3.client('s3').create_bucket(Bucket='logs')")
        assert made.returncode == 0, made.stderr
        with service(python, model, tmp_path, **store) as running:
            number = running.ask(f"My key is {store['AWS_SECRET_ACCESS_KEY']}").json()["trajectory_id"]
            until(lambda: (tmp_path / "logs/.shipped" / f"{number}.jsonl").exists(), running.process, tmp_path / "log")
            until(lambda: running.counted()["rlm_logs_unshipped"] == 0, running.process, tmp_path / "log")

        back = run("-m", "src.store", "restore", folder="other")
        assert (back.stdout, back.stderr) == ("1\n", "")
        written, restored = (tmp_path / place / f"{number}.jsonl" for place in ("logs", "other"))
        assert restored.read_bytes() == written.read_bytes()
        assert run("-m", "src.store").stdout == "0\n"

        audit = run("-m", "src.audit", folder="other")
        assert audit.returncode == 1
        assert f"{number}.jsonl:2: the value of AWS_SECRET_ACCESS_KEY" in audit.stdout
        assert store["AWS_SECRET_ACCESS_KEY"] not in audit.stdout


# As the guide has it, but for where redis is.
_QUEUED = """
import os, time
from redis import Redis
from rq import Queue
from src.jobs import process_completion

queue = Queue("rlm-tasks", connection=Redis.from_url(os.environ["REDIS_URL"]))
job = queue.enqueue(process_completion, "Your prompt here", model="openai/gpt-4o-mini")
while job.return_value() is None and not job.is_failed:
    time.sleep(0.1)
print(job.return_value().response)
"""


def test_a_prompt_is_queued_as_the_guide_does_and_its_worker_is_asked_how_it_is(
    python: str, model: Provider, tmp_path: Path
) -> None:
    redis, port = free_ports(2)
    environ = surroundings(
        model, {"REDIS_URL": f"redis://127.0.0.1:{redis}", "RLM_ENVIRONMENT": "local", "RLM_LOG_DIR": str(tmp_path)}
    )
    store = subprocess.Popen(["redis-server", "--port", str(redis), "--save", ""], stdout=subprocess.DEVNULL)
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [python, "-m", "src.worker", str(port)], cwd=EXAMPLE, env=environ, stdout=log, stderr=log
        )
    try:
        done = subprocess.run([python, "-c", _QUEUED], cwd=EXAMPLE, env=environ, capture_output=True, text=True)

        assert done.stdout == "four\n", done.stderr + (tmp_path / "log").read_text()
        assert [asked["model"] for asked in model.asked] == ["gpt-4o-mini"]
        counted = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'rlm_requests_total{status="ok"} 1.0' in counted
        assert "rlm_queue_depth 0.0" in counted
    finally:
        for process in (worker, store):
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's, beside what `deploy render` writes for Lambda and for Cloud Functions."""
    folder = tmp_path_factory.mktemp("functions") / "app"
    shutil.copytree(EXAMPLE / "functions", folder)
    for cloud in ("lambda", "cloud-function"):
        render = [sys.executable, "-m", "provision.cli", "render", cloud, "--out", folder.parent / cloud]
        subprocess.run(render, cwd=folder, env={**os.environ, "OPENAI_API_KEY": "k"}, check=True, capture_output=True)
    return folder.parent


def _declared(functions: Path, model: Provider, tmp_path: Path) -> dict[str, str]:
    """The variables that both clouds give; /tmp is the one place where a function can write."""
    declared = yaml.safe_load((functions / "cloud-function/completion/env.yaml").read_text())
    assert (declared["RLM_MODEL"], declared["RLM_LOG_DIR"]) == ("gpt-4o", "/tmp/logs")
    return {**declared, **surroundings(model, {"RLM_LOG_DIR": str(tmp_path / "logs")})}


def test_lambdas_own_runtime_awaits_the_handler(python: str, functions: Path, model: Provider, tmp_path: Path) -> None:
    api = RuntimeApi()
    env = {**_declared(functions, model, tmp_path), "AWS_LAMBDA_RUNTIME_API": api.address}
    env["PYTHONPATH"] = f"{functions / 'lambda'}:{functions / 'app'}"
    with api, (tmp_path / "log").open("wb") as log:
        command = [python, "-m", "awslambdaric", "lambda_handler.handle"]
        process = subprocess.Popen(command, cwd=functions / "app", env=env, stdout=log, stderr=log)
        try:
            for _ in range(2):
                said = api.invoke({"prompt": "What is two and two?"})
                assert (said.where, said.body["statusCode"]) == ("response", 200), (tmp_path / "log").read_text()
                body = json.loads(said.body["body"])
                assert body["response"] == "four"
                assert (tmp_path / "logs" / f"{body['trajectory_id']}.jsonl").exists()
            model.broken = 10
            said = api.invoke({"prompt": "What is two and two?"})
            assert (said.body["statusCode"], "overloaded" in said.text) == (500, False)
        finally:
            process.kill()
            process.wait()


def test_googles_own_framework_calls_the_function(
    python: str, functions: Path, model: Provider, tmp_path: Path
) -> None:
    source = functions / "cloud-function/completion"
    if not (source / "app").exists():
        (source / "app").symlink_to(functions / "app")  # as deploy.sh puts it there
    (port,) = free_ports(1)
    command = [python, "-m", "functions_framework", "--target", "handle", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        env = _declared(functions, model, tmp_path)
        process = subprocess.Popen(command, cwd=source, env=env, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        said = until(lambda: httpx.post(url, json={"prompt": "two?"}, timeout=120), process, tmp_path / "log")
        again = httpx.post(url, json={"prompt": "two?"}, timeout=120)
    finally:
        process.terminate()
        process.wait(60)

    assert [each.json() for each in (said, again)] == [{"response": "four"}] * 2
