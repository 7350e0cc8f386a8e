"""The example's service, run by an interpreter that has its packages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.cli.ports import free_ports
from tests.examples.model_api import Provider
from tests.testbed.answering import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "rlm-runtime"
TOKEN = "what-a-client-sends"


@dataclass
class Service:
    """One that runs."""

    url: str
    metrics: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def ask(self, prompt: str = "What is two and two?", token: str = TOKEN) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.post(f"{self.url}/completion", json={"prompt": prompt}, headers=headers, timeout=120)

    def counted(self) -> dict[str, float]:
        text = httpx.get(f"{self.metrics}/metrics", timeout=30).text
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


@contextmanager
def service(python: str, model: Provider, folder: Path, **environ: str) -> Iterator[Service]:
    port, metrics = free_ports(2)
    env = {"RLM_SERVER_TOKEN": TOKEN, "RLM_ENVIRONMENT": "local", "RLM_LOG_DIR": str(folder / "logs"), **environ}
    env |= {"RLM_PORT": str(port), "RLM_METRICS_PORT": str(metrics)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "src.server"], cwd=EXAMPLE, env=surroundings(model, env), stdout=log, stderr=log
        )
    made = Service(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics}", folder, process)
    try:
        until(lambda: httpx.get(f"{made.url}/health", timeout=60), process, folder / "log")
        yield made
    finally:
        process.terminate()
        try:
            assert process.wait(60) == -signal.SIGTERM, (folder / "log").read_text()
        finally:
            process.kill()
            process.wait()


def surroundings(model: Provider, more: Mapping[str, str]) -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, "HOME": "/nonexistent", **model.environ, **more}
