"""The workflows of images, their steps end to end on one machine."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.images.build.make import REPOSITORY
from tests.testbed.docker import base
from tests.testbed.slots import Slot


def test_one_command_builds_pushes_tries_signs_promotes_and_pulls_what_was_promoted(slot: Slot) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "REGISTRY_"))}

    done = subprocess.run(["scripts/ci-image"], cwd=REPOSITORY, env=environ, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    built, *_, promoted = [line for line in done.stdout.splitlines() if "@sha256:" in line]
    assert "passed: 6 checks of" in promoted
    assert promoted.rpartition("@")[2] == built.rpartition("@")[2]


@pytest.mark.slow
def test_one_command_boots_an_application_with_real_servers_and_tries_all_that_it_declares(slot: Slot) -> None:
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "AWS_", "TEMPORAL_"))
    }

    done = subprocess.run(
        ["scripts/ci-minimal-image", base()], cwd=REPOSITORY, env=environ, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    passed = [line.partition(" (")[0] for line in done.stderr.splitlines() if line.startswith("passed: ")]
    assert passed == [
        f"passed: {name}"
        for name in (
            "boot",
            "not root",
            "healthcheck",
            "queue minimal",
            "http /work",
            "command container_smoke 8000 /work",
            "drain",
        )
    ]
    assert "passed: 7 checks of minimal@sha256:" in done.stdout
    built = [line.partition("@")[0] for line in done.stdout.splitlines() if re.match(r"[\w-]+@sha256:", line)]
    assert built == ["minimal-base", "minimal"]
