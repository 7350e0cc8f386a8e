"""A cluster that was there before the tests, such as kind's: it has pods that run, and its programs are not ours.

BITNET_TEST_KUBECONFIG is an administrator's way to it, and BITNET_TEST_CTR the command of its node's containerd
(`docker exec -i kind-control-plane ctr`), by which images get there. Tests that stop its programs, or stand on its
machine, are left out.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest

from tests.cluster import certificates
from tests.cluster.images import Images
from tests.cluster.parts import KUBECTL
from tests.cluster.running import Cluster

KUBECONFIG, CTR = "BITNET_TEST_KUBECONFIG", "BITNET_TEST_CTR"
_NOT_OURS = f"{KUBECONFIG} is a cluster whose machine and programs are not the tests' own"


class Given(Cluster):
    """One of somebody else's."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.kubeconfig = disk / "kubeconfig"
        command = [KUBECTL, "--kubeconfig", os.environ[KUBECONFIG], "config", "view"]
        command += ["--raw", "--flatten", "--minify", "--output=json"]
        self.kubeconfig.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        there = json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        parts = urlsplit(there["server"])
        self.address = parts.hostname or ""
        self.api = self.address, parts.port or 443
        self.authority = disk / "authority.crt"
        self.authority.write_bytes(b64decode(there["certificate-authority-data"]))
        certificates.write(disk / "pki", ["127.0.0.1"])  # of what stands before it
        self.node = _Images(shlex.split(os.environ[CTR]), disk)  # type: ignore[assignment]

    def destroy(self) -> None:
        """It goes on."""

    def start(
        self, name: str, *options: str, file: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        _leave_out()

    def stop(self, name: str) -> None:
        _leave_out()

    def inside(self) -> list[str]:
        _leave_out()

    def until(self, condition: Callable[[], bool], name: str) -> None:
        _leave_out()


class _Images(Images):
    """All that tests may ask of the node of such a cluster."""

    def keep(self, name: str, count: int, of_class: str = "") -> None:
        _leave_out()


def is_given() -> bool:
    return KUBECONFIG in os.environ


with_its_own = pytest.mark.skipif(is_given(), reason=_NOT_OURS)


def _leave_out() -> NoReturn:
    pytest.skip(_NOT_OURS)
