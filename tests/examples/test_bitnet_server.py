"""The preset bitnet-server with a real llama-server, deployed to a real host: the sandbox."""

import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.cli.ports import free_ports
from tests.examples.sandbox import Sandbox, sandbox

pytestmark = [pytest.mark.native, pytest.mark.timeout(2400)]

KEY = "hunter2-is-no-key"
DECLARED = """
[project]
name = "model"

[services.llama]
preset = "bitnet-server"
model = "models/model.gguf"
secret_files = ["LLAMA_API_KEY"]
port = {port}
switch = "in-place"
args = ["--ctx-size", "{context}"]

[targets.sandbox]
hosts = ["sandbox"]
path = "{place}"
"""


class Server:
    """A deployed llama-server, and who asks it."""

    def __init__(self, host: Sandbox) -> None:
        self.host = host
        (self.port,) = free_ports(1)
        host.root.mkdir(parents=True)
        write_demo_model(host.root / "models" / "model.gguf")
        llama_server(host.root)
        (host.root / ".env").write_text(f"LLAMA_API_KEY={KEY}\n")

    def declare(self, context: int) -> None:
        text = DECLARED.format(port=self.port, context=context, place=self.host.place)
        (self.host.root / "deploy.toml").write_text(text)

    def completion(self, tokens: int, key: str = KEY, **more: object):
        body = json.dumps({"prompt": "Hello", "n_predict": tokens, **more}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/completion", body, headers)
        return urllib.request.urlopen(request, timeout=300)


def passed(told: str) -> list[str]:
    """The checks that passed."""
    events = map(json.loads, told.splitlines())
    return [event["check"] for event in events if event["event"] == "check" and event["passed"]]


@pytest.fixture(scope="module")
def server():
    with sandbox({}) as host:
        made = Server(host)
        made.declare(context=2048)
        made.told = host.deploy("up", "--json")
        yield made


def test_the_completion_that_proves_it_is_asked_with_the_key_that_everybody_needs(server):
    assert "llama completion" in passed(server.told)
    assert KEY not in server.told
    with pytest.raises(urllib.error.HTTPError, match="401"):
        server.completion(1, key="another")
    with server.completion(4) as answer:
        assert json.load(answer)["tokens_predicted"] == 4


def test_smoke_needs_no_key_here(server):
    key = server.host.root / ".env"
    key.rename(key.with_name("elsewhere"))
    try:
        said = server.host.deploy("smoke", "--json")
    finally:
        key.with_name("elsewhere").rename(key)

    assert passed(said) == ["llama http /health", "llama completion"]
    assert KEY not in said


def test_the_key_stands_in_its_launch_alone(server):
    pid = server.host.programs()["llama"]["pid"]
    process = Path(f"/proc/{pid}")
    grep = ["grep", "-rlF", "--", KEY, server.host.place, server.host.root.parent / "state"]
    found = [Path(line) for line in subprocess.run(grep, stdout=subprocess.PIPE, text=True, check=False).stdout.split()]

    assert KEY.encode() not in (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert [file.name for file in found] == ["LLAMA_API_KEY"]
    assert found[0].parent.parent.parent == server.host.place / ".deploy" / "run" / "llama"
    assert oct(found[0].stat().st_mode & 0o777) == "0o400"


def test_streams_in_flight_end_whole_while_the_server_is_replaced(server):
    tokens, ends, draining = 100, [], threading.Event()

    def keep_busy() -> None:
        while not draining.is_set():
            with server.completion(tokens, stream=True, ignore_eos=True) as stream:
                events = [json.loads(line[len("data: ") :]) for line in stream if line.startswith(b"data: {")]
            ends.append((events[-1]["stop"], events[-1]["tokens_predicted"]))

    before = server.host.programs()["llama"]["pid"]
    server.declare(context=1024)
    command = [sys.executable, "-m", "provision.cli", "up", "--json", "--target", "sandbox"]
    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(keep_busy) for _ in range(2)]
        deploy = subprocess.Popen(
            command, cwd=server.host.root, env=server.host.environ, stdout=subprocess.PIPE, text=True
        )
        events = []
        for line in deploy.stdout:
            events.append(json.loads(line))
            if events[-1].get("step") == "drain":
                draining.set()
        draining.set()
        assert deploy.wait(60) == 0, events
        for client in clients:
            client.result(timeout=60)

    assert set(ends) == {(True, tokens)}
    drained = [event["detail"] for event in events if event.get("step") == "drain"]
    assert re.fullmatch(r"idle after [0-9.]+ s: 0 requests in flight", drained[-1])
    assert server.host.programs()["llama"]["pid"] != before
