"""The image workflow's steps, end to end on one machine."""

from __future__ import annotations

import os
import subprocess

from tests.images.build.make import REPOSITORY
from tests.testbed.slots import Slot


def test_one_command_builds_pushes_tries_signs_promotes_and_pulls_what_was_promoted(slot: Slot) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "REGISTRY_"))}

    done = subprocess.run(["scripts/ci-image"], cwd=REPOSITORY, env=environ, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    built, *_, promoted = [line for line in done.stdout.splitlines() if "@sha256:" in line]
    assert "passed: 6 checks of" in promoted
    assert promoted.rpartition("@")[2] == built.rpartition("@")[2]
