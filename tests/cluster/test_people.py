"""`scripts/cluster` as a person types it: one that runs until it is told to end, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.conftest import demand
from tests.cluster.given import with_its_own
from tests.cluster.parts import CONTROL_PLANE, KUBECTL

pytestmark = [pytest.mark.slow, with_its_own]

_CLUSTER = [sys.executable, "-m", "tests.cluster"]


def test_a_cluster_is_up_until_it_is_taken_down() -> None:
    demand(*CONTROL_PLANE)
    up = subprocess.Popen([*_CLUSTER, "up", "control"], stdout=subprocess.PIPE, text=True)
    try:
        assert up.stdout
        line = next(line for line in up.stdout if line.startswith("export "))
        environ = {**os.environ, "KUBECONFIG": line.removeprefix("export KUBECONFIG=").strip()}
        asked = [str(KUBECTL), "get", "namespace", "default", "-o", "name"]
        assert subprocess.run(asked, env=environ, capture_output=True, text=True).stdout == "namespace/default\n"

        down = subprocess.run([*_CLUSTER, "down"], env=environ, capture_output=True, text=True, timeout=90)

        assert (down.returncode, down.stdout) == (0, ""), down.stderr
        assert up.wait(5) == 0
        assert not Path(environ["KUBECONFIG"]).exists()
    finally:
        up.terminate()
        up.wait()
