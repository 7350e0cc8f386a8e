"""examples/rollout-server, deployed to a sandbox and asked by a trainer."""

from __future__ import annotations

import getpass
import json
import re
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.cli.ports import free_ports
from tests.examples.sandbox import Sandbox, sandbox

EXAMPLE = Path(__file__).parents[2] / "examples" / "rollout-server"
KEYS = {"ROLLOUT_API_KEY": "what a trainer sends", "ROLLOUT_CALLBACK_KEY": "it's what a trainer gets"}


@dataclass
class Trainer:
    """Answers each turn with its number, ends the third with "stop", and keeps what it is told."""

    port: int = 0
    bearers: set[str] = field(default_factory=set)
    ends: Queue[dict[str, Any]] = field(default_factory=Queue)

    def answer(self, path: str, asked: dict[str, Any], bearer: str) -> dict[str, Any]:
        self.bearers.add(bearer)
        if path == "/v1/rollout/completed":
            self.ends.put(asked)
            return {}
        turn = len(asked["messages"])
        message = {"role": "assistant", "content": f"turn {turn}"}
        return {"choices": [{"message": message, "finish_reason": "stop" if turn == 3 else "length"}]}


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    made = Trainer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(made.answer(self.path, asked, self.headers["Authorization"])).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, id="here"), pytest.param(True, id="prepared", marks=pytest.mark.slow)],
)
def server(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """The example as it is but for its port; with packages of its own, which `prepare` fetches, or with ours."""
    (port,) = free_ports(1)
    python = {} if request.param else {"ROLLOUT_PYTHON": sys.executable}
    environ = {"ROLLOUT_USER": getpass.getuser(), "ROLLOUT_LISTEN": "127.0.0.1", "ROLLOUT_CALLBACKS": "127.0.0.0/8"}
    with sandbox({**environ, **KEYS, **python, "PORT": str(port)}) as made:
        shutil.copytree(EXAMPLE, made.root, ignore=shutil.ignore_patterns(".deploy", "__pycache__"))
        declared = (made.root / "deploy.toml").read_text()
        assert "\nport = 9000\n" in declared
        declared = declared.replace("\nport = 9000\n", f"\nport = {port}\n")
        if not request.param:
            declared = re.sub(r"(?s)\[prepare\]\n.*?\n\n", "", declared)
        (made.root / "deploy.toml").write_text(declared)
        made.deploy("up")
        yield made


def post(server: Sandbox, body: dict[str, Any], key: str = KEYS["ROLLOUT_API_KEY"]) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{server.environ['PORT']}/rollout", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def rollout(trainer: Trainer, name: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hello"}]
    callback = f"http://127.0.0.1:{trainer.port}"
    return {"rollout_id": name, "messages": messages, "callback_url": callback, "max_turns": 9, **more}


def test_a_rollout_talks_to_the_trainer_until_it_is_done_and_says_so(server: Sandbox, trainer: Trainer) -> None:
    assert post(server, rollout(trainer, "one")) == 202

    end = trainer.ends.get(timeout=60)

    assert (end["rollout_id"], end["status"]) == ("one", "completed")
    assert [message["content"] for message in end["final_messages"]] == ["Hello", "turn 1", "turn 2", "turn 3"]
    assert trainer.bearers == {f"Bearer {KEYS['ROLLOUT_CALLBACK_KEY']}"}


def test_who_has_another_key_starts_nothing(server: Sandbox, trainer: Trainer) -> None:
    assert post(server, rollout(trainer, "two"), key="guessed") == 401


@pytest.mark.parametrize(
    "url", ["http://10.20.0.1", "http://127.0.0.1.example.net", "http://localhost", "file:///etc/passwd", "http://[::"]
)
def test_the_key_is_sent_nowhere_but_to_the_networks_that_are_named(
    server: Sandbox, trainer: Trainer, url: str
) -> None:
    assert post(server, rollout(trainer, "three", callback_url=url)) == 422


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
