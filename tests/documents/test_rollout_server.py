"""The rollout server's deployment guide, step by step: its variables, bodies, answers, names and numbers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.ports import free_ports
from tests.examples.hub import Hub, hub, tokenizer
from tests.examples.serving import served
from tests.examples.trainer import Trainer, trainer

EXAMPLE = Path(__file__).parents[2] / "examples" / "rollout-server"
# `docker run` gives it these, and nothing else.
THREE = {"TOKENIZER_CACHE_SIZE": "10", "HTTP_CLIENT_TIMEOUT": "600", "TOKENIZER_TRUST_REMOTE_CODE": "true"}
KEY = "secret-key-123"
OURS = ("ROLLOUT_", "TOKENIZER", "HTTP_CLIENT_", "MAX_CONCURRENT_", "LOG_LEVEL", "HF_")


@dataclass
class Server:
    """One that runs, and what it logged."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def post(self, body: dict[str, Any], path: str = "/rollout", **headers: str) -> tuple[int, dict[str, Any]]:
        headers = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): said for name, said in headers.items()},
        }
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def metric(self, name: str) -> float:
        (value,) = re.findall(rf"(?m)^{re.escape(name)} (\S+)$", self.get("/metrics"))
        return float(value)


@contextmanager
def running(folder: Path, command: list[str], cwd: Path, **environ: str) -> Iterator[Server]:
    (port,) = free_ports(1)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    made = Server(port, folder / f"log-{port}")
    environ = {**inherited, "ROLLOUT_SERVER_PORT": str(port), **environ}
    with made.log.open("wb") as log:
        process = subprocess.Popen(command, cwd=cwd, env=environ, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                made.get("/health")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, made.log.read_text()
                time.sleep(0.05)
        yield made
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def start(folder: Path, **environ: str) -> Any:
    command = [sys.executable, "-m", "rollout_server.server"]
    return running(folder, command, folder, PYTHONPATH=str(EXAMPLE / "src"), **environ)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start(tmp_path_factory.mktemp("three"), **THREE) as made:
        yield made


@pytest.fixture(name="trainer")
def _trainer() -> Iterator[Trainer]:
    with trainer() as made:
        yield made


def request(trainer: Trainer, name: str, **more: Any) -> dict[str, Any]:
    url = trainer.url.replace("127.0.0.1", "localhost")  # by name, as in http://trainer:8081
    return {"rollout_id": name, "server_url": url, "messages": [{"role": "user", "content": "Hello"}], **more}


def test_health_says_what_it_is_and_how_its_cache_is(server: Server) -> None:
    said = json.loads(server.get("/health"))

    assert (said["status"], said["service"]) == ("healthy", "rollout-server")
    assert said["tokenizer_cache"] == {"size": 0, "max_size": 10, "hits": 0, "misses": 0}


def test_the_trainers_key_is_sent_back_as_its_bearer_token(server: Server, trainer: Trainer) -> None:
    status, end = server.post(request(trainer, "keyed", callback_api_key=KEY))

    assert (status, end["rollout_id"], end["status"], end["finish_reason"]) == (200, "keyed", "COMPLETED", "stop")
    assert trainer.bearers == {f"Bearer {KEY}"}
    assert end["metrics"]["num_llm_calls"] == 3 and end["metrics"]["num_tool_calls"] == 2
    assert {asked["rollout_id"] for asked in trainer.asked} == {"keyed"}


def test_a_trainer_without_a_key_is_sent_none(server: Server, trainer: Trainer) -> None:
    assert server.post(request(trainer, "open"))[1]["status"] == "COMPLETED"
    assert trainer.bearers == {""}


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"rollout_id": "x" * 256}, 200),
        ({"rollout_id": "x" * 257}, 422),
        ({"rollout_id": " "}, 422),
        ({"messages": []}, 422),
        ({"messages": [{"role": "wizard", "content": "Hello"}]}, 422),
        ({"server_url": "ftp://trainer:8081"}, 422),
        ({"server_url": "http://user:word@trainer:8081"}, 422),
        ({"max_turns": 0}, 422),
        ({"max_turns": 101}, 422),
        ({"sampling_params": {"temperature": 2.5}}, 422),
        ({"callback_api_key": "two\nlines"}, 422),
        ({"tokenizer_name": "../../etc"}, 422),
    ],
)
def test_a_request_is_judged_before_it_is_run(
    server: Server, trainer: Trainer, changed: dict[str, Any], status: int
) -> None:
    answer = server.post(request(trainer, "judged", **changed))

    assert answer[0] == status
    assert "two\\nlines" not in json.dumps(answer[1])


def test_a_trainer_that_is_not_there_is_told_in_general_and_logged_in_detail(server: Server, trainer: Trainer) -> None:
    (port,) = free_ports(1)
    status, end = server.post(
        request(trainer, "nobody", callback_api_key=KEY) | {"server_url": f"http://localhost:{port}"}
    )

    assert (status, end["status"], end["final_messages"]) == (200, "ERROR", [])
    assert end["error_message"] == "Network error communicating with trainer"
    (line,) = [line for line in server.lines() if line["rollout_id"] == "nobody" and line["level"] == "error"]
    assert "ConnectError" in line["error"] and {"timestamp", "logger", "message"} <= line.keys()
    assert KEY not in server.log.read_text()


def test_a_request_is_read_to_a_bound_whoever_sends_it(tmp_path: Path, trainer: Trainer) -> None:
    with start(tmp_path, **THREE, ROLLOUT_API_KEY=KEY) as server:
        long = request(trainer, "long") | {"metadata": {"x": "x" * (33 << 20)}}
        assert httpx.post(f"{server.url}/rollout", json=long, timeout=60).status_code == 413
        assert server.post(request(trainer, "short"), Authorization=f"Bearer {KEY}")[1]["status"] == "COMPLETED"


class Endless(BaseHTTPRequestHandler):
    """Answers without an end: as fast as it can, or a byte now and then."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        floods = self.path.startswith("/flood")
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b" " * 65536 if floods else b" ")
                time.sleep(0 if floods else 0.05)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(("way", "category"), [("flood", "trainer_error"), ("drip", "timeout")])
def test_a_trainer_whose_answer_has_no_end_is_given_up(tmp_path: Path, way: str, category: str) -> None:
    with served(Endless) as port, start(tmp_path, **{**THREE, "HTTP_CLIENT_TIMEOUT": "5"}) as server:
        asked = {"rollout_id": way, "server_url": f"http://127.0.0.1:{port}/{way}"}
        _, end = server.post({**asked, "messages": [{"role": "user", "content": "Hello"}]})

        assert (end["status"], end["extra_fields"]) == ("ERROR", {"error_category": category})


def test_metrics_have_the_documents_names(server: Server, trainer: Trainer) -> None:
    names = ['rollout_requests_total{status="completed"}', "llm_calls_total", "tool_calls_total"]
    before = [server.metric(name) for name in names]
    server.post(request(trainer, "counted"))

    assert [server.metric(name) - was for name, was in zip(names, before, strict=True)] == [1, 3, 2]
    for quantile in ("0.5", "0.9", "0.99"):
        assert server.metric(f'rollout_duration_seconds{{quantile="{quantile}"}}') > 0
    for name in ("hits_total", "misses_total", "size"):
        assert server.metric(f"tokenizer_cache_{name}") == 0
    for name in ('rollout_requests_total{status="error"}', 'rollout_tokens_total{kind="response"}'):
        assert server.metric(name) >= 0
    assert server.metric("http_client_pool_max_connections") == 50
    assert server.metric("process_resident_memory_bytes") > 0


def test_without_a_key_it_says_so_and_answers_private_networks_alone(server: Server, trainer: Trainer) -> None:
    assert server.post(request(trainer, "far"), X_Forwarded_For="203.0.113.9")[0] == 403
    assert server.post(request(trainer, "near"), X_Forwarded_For="10.20.0.9")[0] == 200
    assert "ROLLOUT_API_KEY is not set: loopback and private networks alone are answered" in [
        line["message"] for line in server.lines()
    ]


@pytest.mark.parametrize("many", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_as_many_rollouts_as_may_be_are_in_work_at_once_and_one_more_is_told_to_come_again(
    tmp_path: Path, trainer: Trainer, many: int
) -> None:
    async def ask(server: Server) -> tuple[list[httpx.Response], httpx.Response]:
        async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:
            post = [client.post(f"{server.url}/rollout", json=request(trainer, f"r{i}")) for i in range(many)]
            asked = [asyncio.ensure_future(each) for each in post]
            while (await client.get(f"{server.url}/health")).json()["rollouts"]["running"] < many:
                await asyncio.sleep(0.05)
            refused = await client.post(f"{server.url}/rollout", json=request(trainer, "more"))
            again = asyncio.ensure_future(client.post(f"{server.url}/rollout", json=request(trainer, "r0")))
            trainer.holds.set()
            return await asyncio.gather(*asked, again), refused

    trainer.holds.clear()
    with start(tmp_path, **THREE, MAX_CONCURRENT_ROLLOUTS=str(many)) as server:
        ended, refused = asyncio.run(ask(server))
        assert server.metric('rollout_requests_total{status="completed"}') == many  # who asks twice starts one
        assert server.metric("rollouts_refused_total") == 1

    assert [(answer.status_code, answer.json()["status"]) for answer in ended] == [(200, "COMPLETED")] * (many + 1)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")


@pytest.fixture(name="hub")
def _hub() -> Iterator[Hub]:
    with hub() as made:
        made.publish("Qwen/Qwen3-8B", tokenizer("Hello, this is turn one, turn two, turn three") | {"own.py": b"raise"})
        yield made


def test_a_tokenizer_is_fetched_by_name_at_first_use_where_that_is_allowed(
    tmp_path: Path, hub: Hub, trainer: Trainer
) -> None:
    trainer.made = lambda message: len(message["content"])
    with start(tmp_path, **THREE, TOKENIZER_DOWNLOADS="true", HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path)) as server:
        assert hub.asked == []
        status, end = server.post(request(trainer, "one", tokenizer_name="Qwen/Qwen3-8B", tokenizer_revision="main"))

        assert (status, end["status"]) == (200, "COMPLETED"), server.log.read_text()
        assert json.loads(server.get("/health"))["tokenizer_cache"] == {
            "size": 1,
            "max_size": 10,
            "hits": 2,
            "misses": 1,
        }
    # Nobody but an operator says whose code runs here.
    assert not any("own.py" in asked for asked in hub.asked)
    assert any("response_mask" in asked for asked in trainer.asked)


def test_a_tokenizer_by_name_is_refused_where_nothing_is_fetched(server: Server, trainer: Trainer) -> None:
    status, said = server.post(request(trainer, "one", tokenizer_name="Qwen/Qwen3-8B"))

    assert status == 422
    assert said["detail"].endswith("is none of TOKENIZERS, and TOKENIZER_DOWNLOADS is off")


def test_debug_logs_have_each_turn_and_no_key(tmp_path: Path, trainer: Trainer) -> None:
    with start(tmp_path, LOG_LEVEL="DEBUG", **THREE) as server:
        server.post(request(trainer, "seen", callback_api_key=KEY))
        turns = [line["turn"] for line in server.lines() if line["rollout_id"] == "seen" and "turn" in line]

        assert turns == [1, 2, 3]
        assert KEY not in server.log.read_text()


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLE / "src")
    return importlib.import_module("rollout_server.networks")


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fe80::1", "fd00:ec2::254",
     "64:ff9b:1::a9fe:a9fe", "::ffff:0:a9fe:a9fe", "100.100.100.200", "168.63.129.16", "0.0.0.0", "::"],
)  # fmt: skip
def test_no_consent_reaches_link_local_addresses_or_a_clouds_metadata(networks: Any, address: str) -> None:
    assert not networks.Callbacks("any").allow(address)
    assert not networks.Callbacks("0.0.0.0/0 ::/0").allow(address)


def test_the_consent_that_allows_any_host_allows_the_others(networks: Any) -> None:
    assert networks.Callbacks("any").allow("203.0.113.9")
    assert not networks.Callbacks("10.0.0.0/8").allow("203.0.113.9")


async def test_a_name_that_moves_is_followed_nowhere(networks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        answers = ["127.0.0.1", "169.254.169.254", "203.0.113.9"]
        real: Callable[..., Any] = socket.getaddrinfo
        asked = []

        def resolve(host: Any, *more: Any, **other: Any) -> Any:
            if host != "trainer":
                return real(host, *more, **other)
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        checked = networks.Checked(networks.Callbacks("127.0.0.0/8"))
        stream = await checked.connect_tcp("trainer", port, timeout=5)
        assert asked == ["trainer"]
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        await stream.aclose()
        for _ in answers[:]:
            with pytest.raises(networks.NotAllowed):
                await checked.connect_tcp("trainer", port, timeout=5)


@pytest.mark.slow
def test_the_documents_dockerfile_makes_a_server_of_the_example(tmp_path: Path, trainer: Trainer) -> None:
    """Its steps, in a folder that has what it copies; its HEALTHCHECK; its command."""
    uv = f"{sys.prefix}/bin/uv"
    environ = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    shutil.copytree(EXAMPLE / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([uv, "lock", "--quiet"], cwd=tmp_path, env=environ, check=True)
    subprocess.run([uv, "sync", "--quiet", "--frozen", "--no-dev"], cwd=tmp_path, env=environ, check=True)

    command = [uv, "run", "python", "-m", "rollout_server.server"]
    with running(tmp_path, command, tmp_path, PYTHONUNBUFFERED="1", UV_SYSTEM_CERTS="1", **THREE) as server:
        subprocess.run(["curl", "-sf", f"http://localhost:{server.port}/health"], check=True)
        assert server.post(request(trainer, "built", callback_api_key=KEY))[1]["status"] == "COMPLETED"
