"""A machine as the document rents it, and the stack of examples/vast-stack brought there by the document's commands."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision.images.build.packages import of_file, packages
from provision.native.model import write_demo_model
from tests.testbed import TestHost
from tests.testbed.rootfs import PYTHON

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "vast-stack"
_CACHE = Path.home() / ".cache" / "bitnet-provision" / "tests"


def instance_packages() -> Path:
    """What requirements.instance.txt pins, as the image of an instance has it."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    pinned = of_file(ROOT / "images" / "vast-stack" / "requirements.instance.txt")
    return packages(pinned, PYTHON, "linux/amd64", _CACHE)


def equip(host: TestHost) -> None:
    """Have on the host what its image would bring."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(instance_packages(), ".")
    host.exec(["tar", "-x", "-C", f"/usr/local/lib/python{PYTHON}/dist-packages"], stdin=content.getvalue())


_SMI = """#!/bin/sh
case "$*" in
    *--query-gpu=name,uuid*) echo "NVIDIA GeForce RTX 4090, GPU-1, 24564, 24000, 550.54" ;;
    *--query-gpu=name*) echo "NVIDIA GeForce RTX 4090" ;;
esac
"""
LOADED = """\
0.00.1 I load_tensors: offloaded {layers}/9 layers to GPU
0.00.1 I load_tensors:        CUDA0 model buffer size = {mib} MiB
0.00.1 I load_tensors:   CPU_Mapped model buffer size = 1.00 MiB
"""


def with_gpu(host: TestHost, server: Path, said: str) -> None:
    """A machine of ghcr.io/ggml-org/llama.cpp:server-cuda, as far as it can be told without one."""
    host.write("/usr/bin/nvidia-smi", _SMI, mode=0o755)
    host.write("/opt/llama-server", server.read_bytes(), mode=0o755)
    host.write("/opt/said", said)
    host.write(
        "/app/llama-server",
        '#!/bin/sh\ncase "$1" in --version) ;; *) cat /opt/said >&2 ;; esac\nexec /opt/llama-server "$@"\n',
        mode=0o755,
    )


@dataclass
class Stack:
    """The project's folder, and who deploys it."""

    folder: Path
    host: TestHost
    environ: dict[str, str] = field(default_factory=dict)
    told: str = ""  # by the last run of ./deploy_vast.sh

    def deploy_vast(self, *words: str) -> int:
        done = self._run(str(ROOT / "deploy_vast.sh"), *words)
        self.told = done.stdout + done.stderr
        return done.returncode

    def deploy(self, *words: str) -> str:
        return self.run(*words, "--target", "vast")

    def run(self, *words: str) -> str:
        done = self._run(sys.executable, "-m", "provision.cli", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("VAST_", "STACK_"))}
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**environ, **self.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def programs(self) -> dict[str, Any]:
        """What runs there, by name."""
        lines = map(json.loads, self.deploy("status", "--json").splitlines())
        (status,) = [line for line in lines if line["event"] == "status"]
        found: dict[str, Any] = status["project"]["view"]["programs"]
        return found

    def ask(self, path: str, body: Mapping[str, Any] | None = None, port: int = 8000) -> tuple[int, str, str]:
        """Status, Location and body of an answer, asked on the machine as through the tunnel."""
        url = f"http://127.0.0.1:{port}{path}"
        words = ["curl", "-s", "-w", "\n%header{location}\n%{http_code}", url]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        said, location, status = self.host.exec(words).stdout.rsplit("\n", 2)
        return int(status), location, said

    def ctl(self, *words: str) -> str:
        """What deploy-ctl says."""
        return self.host.exec(["/workspace/cres/deploy-ctl", *words], check=False).stdout


def stack(host: TestHost, folder: Path) -> Stack:
    """A copy of the example with .env as the document has it filled in, and a small model."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".deploy", "build", "models"))
    declared = (folder / "deploy.toml").read_text()
    # The disk of who runs the tests is whatever it is.
    (folder / "deploy.toml").write_text(declared.replace('disk = "50GB"', 'disk = "1GB"'))
    write_demo_model(folder / "models" / "model.gguf")
    filled = {"VAST_HOST": host.address, "VAST_PORT": "22", "VAST_SSH_KEY": f"'{host.identity}'"}
    lines = (ROOT / ".env.example").read_text().splitlines()
    written = [f"{name}={filled[name]}" if (name := line.partition("=")[0]) in filled else line for line in lines]
    (folder / ".env").write_text("\n".join(written) + "\n")
    return Stack(folder, host)
