"""examples/rollout-server, deployed to a sandbox: asked by a trainer, for rollouts with a real model."""

from __future__ import annotations

import getpass
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from provision.native.model import write_demo_model
from tests.cli.ports import free_ports
from tests.examples.hub import Hub, hub, tokenizer
from tests.examples.sandbox import Sandbox, sandbox
from tests.examples.trainer import Trainer
from tests.examples.trainer import trainer as make_trainer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "rollout-server"
KEYS = {"ROLLOUT_API_KEY": "what a trainer sends", "ROLLOUT_CALLBACK_KEY": "it's what a trainer gets"}
CALLBACK = f"Bearer {KEYS['ROLLOUT_CALLBACK_KEY']}"
TOKENIZER = "acme/tiny"


@pytest.fixture(scope="module", name="hub")
def _hub() -> Iterator[Hub]:
    with hub() as made:
        made.publish(TOKENIZER, tokenizer("Hello, this is turn one, turn two, turn three"))
        yield made


@pytest.fixture(scope="module")
def declared(hub: Hub) -> str:
    return " ".join(f"{name}@{commit}" for name, commit in hub.repositories)


@pytest.fixture(scope="module", name="trainer")
def _trainer() -> Iterator[Trainer]:
    with make_trainer() as made:
        yield made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a llama-server that asks for the key which rollouts call back with."""
    folder = tmp_path_factory.mktemp("model")
    write_demo_model(folder / "demo.gguf")
    (folder / "keys").write_text(KEYS["ROLLOUT_CALLBACK_KEY"])
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "bitnet.llama_server", "--model", folder / "demo.gguf", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--threads", "1", "--api-key-file", folder / "keys"], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while not _is_up(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, id="here"), pytest.param(True, id="prepared", marks=pytest.mark.slow)],
)
def server(request: pytest.FixtureRequest, hub: Hub, declared: str) -> Iterator[Sandbox]:
    """The example as it is but for its port; with packages of its own, which `uv` gets by uv.lock, or with ours."""
    (port,) = free_ports(1)
    hub.asked.clear()
    environ = {"ROLLOUT_USER": getpass.getuser(), "ROLLOUT_LISTEN": "127.0.0.1", "ROLLOUT_CALLBACKS": "127.0.0.0/8"}
    environ |= {"TOKENIZERS": declared, "HF_ENDPOINT": hub.url, "PORT": str(port)}
    environ |= {"UV": f"{sys.prefix}/bin/uv"} if request.param else {"ROLLOUT_PYTHON": sys.executable}
    with sandbox({**environ, **KEYS}) as made:
        shutil.copytree(EXAMPLE, made.root, ignore=shutil.ignore_patterns(".deploy", "__pycache__", "uv.lock"))
        text = (made.root / "deploy.toml").read_text()
        assert "\nport = 9000\n" in text
        text = text.replace("\nport = 9000\n", f"\nport = {port}\n")
        if request.param:
            subprocess.run([environ["UV"], "lock", "--quiet", "--system-certs"], cwd=made.root, check=True)
        else:
            text = re.sub(
                r'(?s)command = \[\n    "sh".*?\n\]\n',
                f'command = ["{sys.executable}", "-m", "rollout_server.fetch"]\n',
                text,
            )
            text = text.replace('"uv.lock", ', "").replace('outputs = [".venv"]', 'outputs = ["unused"]')
        (made.root / "deploy.toml").write_text(text)
        made.deploy("up")
        yield made


def ask(server: Sandbox, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.environ['PORT']}{path}", timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def post(
    server: Sandbox, body: dict[str, Any], path: str = "/rollout", key: str = KEYS["ROLLOUT_API_KEY"]
) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.environ['PORT']}{path}", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=240) as answer:
            return int(answer.status), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def rollout(trainer: Trainer, name: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hello"}]
    return {"rollout_id": name, "messages": messages, "server_url": trainer.url, **more}


def test_a_rollout_talks_to_the_trainer_until_it_is_done_and_says_so(server: Sandbox, trainer: Trainer) -> None:
    status, begun = post(server, rollout(trainer, "one"), "/init")
    end = trainer.ends.get(timeout=60)

    assert (status, begun["rollout_id"]) == (202, "one")
    assert begun["tools"] == ask(server, "/tools")["tools"]
    assert (end["rollout_id"], end["status"], end["finish_reason"]) == ("one", "COMPLETED", "stop")
    said = [(message["role"], message["content"]) for message in end["final_messages"]]
    assert said[0] == ("user", "Hello")
    assert said[1:] == [
        ("assistant", "turn 1"), ("tool", "2"), ("assistant", "turn 2"), ("tool", "3"), ("assistant", "turn 3")
    ]  # fmt: skip
    assert trainer.bearers == {CALLBACK}


def test_a_rollout_with_a_real_model_ends_at_its_budget_of_tokens(server: Sandbox, model: str) -> None:
    with make_trainer(model) as own:
        own.turns = 20
        more = {"max_tokens_total": 40, "max_turns": 20, "sampling_params": {"max_tokens": 12, "logprobs": False}}
        status, end = post(server, rollout(own, "real", **more))

    assert (status, end["status"], end["finish_reason"]) == (200, "COMPLETED", "max_tokens")
    assert own.bearers == {CALLBACK}
    said = [message["content"] for message in end["final_messages"] if message["role"] == "assistant"]
    assert said and all(said)
    assert end["metrics"]["response_tokens"] >= 40
    assert end["metrics"]["num_llm_calls"] == len(said) < 20


def test_a_model_that_takes_another_key_ends_the_rollout_as_failed(server: Sandbox, model: str) -> None:
    with make_trainer(model) as own:
        status, end = post(server, rollout(own, "refused", callback_api_key="another"))

    assert own.bearers == {"Bearer another"}
    assert (status, end["status"], end["final_messages"]) == (200, "ERROR", [])
    assert end["extra_fields"] == {"error_category": "trainer_error", "http_status": 401}


def test_what_tools_said_between_two_turns_is_masked(server: Sandbox, hub: Hub) -> None:
    (files,) = hub.repositories.values()
    words = Tokenizer.from_buffer(files["tokenizer.json"])

    def length(message: dict[str, Any]) -> int:
        return len(words.encode(f"{message['role']}: {message['content']}\n").ids)

    with make_trainer() as own:
        own.made = length
        status, end = post(server, rollout(own, "masked", tokenizer_name=TOKENIZER))

    tools = [message for message in end["final_messages"] if message["role"] == "tool"]
    assert (status, end["status"]) == (200, "COMPLETED")
    assert [asked.get("response_mask") for asked in own.asked] == [None, *([0] * length(tool) for tool in tools)]


def test_who_has_another_key_starts_nothing(server: Sandbox, trainer: Trainer) -> None:
    assert post(server, rollout(trainer, "two"), key="guessed")[0] == 401


@pytest.mark.parametrize(
    "url", ["http://10.20.0.1", "http://[::ffff:10.20.0.1]:80", "file:///etc/passwd", "http://[::"]
)
def test_callbacks_go_nowhere_but_to_the_networks_that_are_named(server: Sandbox, trainer: Trainer, url: str) -> None:
    assert post(server, rollout(trainer, "three", server_url=url))[0] == 422


def test_a_tokenizer_that_was_not_declared_is_not_fetched_for_a_caller(server: Sandbox, trainer: Trainer) -> None:
    assert post(server, rollout(trainer, "four", tokenizer_name="acme/other"))[0] == 422


def test_tokenizers_are_there_before_traffic_and_the_hub_was_asked_for_nothing_else(
    server: Sandbox, hub: Hub, declared: str
) -> None:
    commit = declared.partition("@")[2]
    same = Tokenizer.from_buffer(hub.repositories[TOKENIZER, commit]["tokenizer.json"])
    told = len(same.encode("user: Hello\n").ids)
    assert ask(server, "/warm") == {"tokens": {TOKENIZER: told}, "in_memory": 1}

    assert (server.place / "shared/huggingface/hub/models--acme--tiny/snapshots" / commit).is_dir()
    assert {request.partition("?")[0] for request in hub.asked} == {
        f"GET /api/models/acme/tiny/tree/{commit}",
        *(f"{verb} /acme/tiny/resolve/{commit}/tokenizer.json" for verb in ("HEAD", "GET")),
        *(f"{verb} /acme/tiny/resolve/{commit}/tokenizer_config.json" for verb in ("HEAD", "GET")),
    }


def test_a_tokenizer_that_the_hub_does_not_have_fails_the_deploy_before_anything_is_disturbed(server: Sandbox) -> None:
    before = server.programs()
    environ = {**server.environ, "TOKENIZERS": f"acme/none@{'0' * 40}"}
    command = [sys.executable, "-m", "provision.cli", "up", "--target", "sandbox"]

    done = subprocess.run(command, cwd=server.root, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "acme/none@0000" in done.stderr and "Repository Not Found" in done.stderr
    assert server.programs() == before


def test_everything_around_it_can_be_rendered(server: Sandbox) -> None:
    for platform in ("systemd", "nginx", "ufw", "monitoring"):
        server.deploy("render", platform, "--out", f"rendered/{platform}", target="fleet")

    rendered = server.root / "rendered"
    nginx = (rendered / "nginx/conf.d/rollout-server-rollout.conf").read_text()
    assert [line.split()[1] for line in nginx.splitlines() if line.startswith("    server 10.20.")] == [
        f"10.20.1.{host}:{server.environ['PORT']}" for host in (1, 2, 3)
    ]
    plan = (rendered / "ufw/plan.txt").read_text()
    assert f"allow from 10.20.0.0/16 to any port {server.environ['PORT']} proto tcp" in plan
    assert "allow out to 10.20.0.0/16 port 8080:8130 proto tcp" in plan
    assert "/opt/rollout-server/" in (rendered / "systemd/rollout-server-rollout.service").read_text()
    assert "alert: RolloutFailing" in (rendered / "monitoring/rules/rollout-server.yml").read_text()
