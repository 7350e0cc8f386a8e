"""Ctrl-C while a host says nothing: what has not begun there is let go within a second or two, whatever the verb."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

MORE_VERBS = ["promote", "rollback", "down", "plan", "history", "smoke", "logs web", "exec true"]
VERBS = ["up", "status", "unlock", *(pytest.param(verb, marks=pytest.mark.slow) for verb in MORE_VERBS)]
LONGEST = 9.0  # seconds; a connection may take ten, and an answer 120


def ctrl_c(command: list[str], folder: Path, after: float = 1.5) -> tuple[int, str]:
    """Press Ctrl-C once, after some seconds: the status, and all words."""
    environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    time.sleep(after)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    try:
        out, _ = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        pytest.fail(f"it did not end: {out.decode()}")
    return process.returncode, out.decode()


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose host takes connections and says nothing."""
    folder = tmp_path_factory.mktemp("silent")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        (folder / "deploy.toml").write_text(
            f"""\
[project]
name = "small"

[services.web]
command = ["true"]

[targets.here]
hosts = ["root@127.0.0.1:{listener.getsockname()[1]}"]
path = "/srv/small"
"""
        )
        made = [sys.executable, "-m", "provision.cli", "image", "keygen", "--private", "key"]
        subprocess.run(made, cwd=folder, check=True, capture_output=True)
        (folder / "report.json").write_text(
            '{"checks": [{"name": "health", "passed": true, "seconds": 0.2, "facts": {}}]}'
        )
        yield folder


@pytest.mark.parametrize("verb", VERBS)
def test_a_peer_that_says_nothing_is_let_go(silent: Path, verb: str) -> None:
    command = [sys.executable, "-m", "provision.cli", *verb.split()]
    status, said = ctrl_c(command, silent)
    assert status == 130, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        "inspect {registry}:canary",
        pytest.param("promote {registry} --from canary --private key", marks=pytest.mark.slow),
        pytest.param("rollback {registry} --private key", marks=pytest.mark.slow),
        pytest.param("attest {registry}@sha256:{digest} --report report.json --private key", marks=pytest.mark.slow),
    ],
)
def test_a_registry_that_says_nothing_is_let_go(silent: Path, words: str) -> None:
    port = tomllib.loads((silent / "deploy.toml").read_text())["targets"]["here"]["hosts"][0].rpartition(":")[2]
    command = words.format(registry=f"127.0.0.1:{port}/a/b", digest="0" * 64).split()
    status, said = ctrl_c([sys.executable, "-m", "provision.cli", "image", *command], silent)
    assert status == 130, said
    assert "Traceback" not in said
