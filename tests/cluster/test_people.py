"""`scripts/cluster down` as a person types it: it ends the cluster that is meant, and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed.processes import start_time

pytestmark = pytest.mark.slow

Running = dict[str, subprocess.Popen[bytes]]  # slot -> what runs a cluster there, as `up` writes it down


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = {slot: subprocess.Popen(["sleep", "60"]) for slot in ("7", "8")}
    for slot, process in found.items():
        (tmp_path / slot / f"dt{slot}-1").mkdir(parents=True)
        (tmp_path / slot / "up").write_text(f"{process.pid} {start_time(process.pid)}")
    yield found
    for process in found.values():
        process.kill()
        process.wait()


def _down(state: Path, kubeconfig: str = "") -> subprocess.Popen[str]:
    environ = {**os.environ, "DEPLOY_TESTBED_STATE": str(state), "KUBECONFIG": kubeconfig}
    command = [sys.executable, "-m", "tests.cluster", "down"]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def test_it_ends_the_cluster_that_kubeconfig_names_or_the_only_one(tmp_path: Path, running: Running) -> None:
    with _down(tmp_path) as unsaid:
        said, _ = unsaid.communicate(timeout=30)
    assert said == "2 clusters run that scripts/cluster up began; KUBECONFIG=… says which is meant\n"
    assert unsaid.returncode == 2

    for slot, kubeconfig, others in (("7", str(tmp_path / "7/dt7-1/kubeconfig"), ["8"]), ("8", "/elsewhere", [])):
        with _down(tmp_path, kubeconfig) as down:
            assert running[slot].wait(30) == -signal.SIGTERM
            assert down.wait(30) == 0
        assert all(running[other].poll() is None for other in others)
