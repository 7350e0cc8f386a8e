"""The files that operators read. Written anew with: make golden"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provision.manifests import control
from provision.manifests.places import LaneOnTarget
from provision.project.schema import Project
from provision.project.service import Lane
from tests.manifests.projects import lane

GOLDEN = Path(__file__).parent / "golden"
REWRITE = "REWRITE_GOLDEN"

SERVICES = {
    "llama": {
        "command": [
            *("${binary}", "--model", "${model}", "--port", "${port}", "--threads", "${cpus}", "--metrics"),
            *("--api-key-file", "${secret_files.LLAMA_API_KEY}"),
        ],
        "binary": "build/bin/llama-server",
        "model": "models/bitnet-2b4t.gguf",
        "port": 8081,
        "secret_files": ["LLAMA_API_KEY"],
        "drain": "30s",
        "check": {"http": "/health", "timeout": "5m"},
        "metrics": {
            "busy": ["llamacpp:requests_processing", "llamacpp:requests_deferred"],
            "token": "LLAMA_API_KEY",
        },
        "resources": {"memory": "4GB", "cpus": 4, "gpus": 1},
    },
    "fastapi": {
        "command": ["uvicorn", "src.api.main:app", "--host", "127.0.0.1", "--port", "${port}"],
        "port": 8000,
        "after": ["llama"],
        "user": "www-data",
        "starts": ["worker-gpu"],
        "env": {
            "GREETING": "it's 5 $$ ; # 100%",
            "LLAMA_HEALTH_URL": "http://127.0.0.1:${services.llama.port}/health",
            "UID": "33",
        },
        "secrets": ["MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"],
    },
    "worker-gpu": {
        "command": ["python3", "-m", "src.backend.worker"],
        "env": {"WORKER_MODE": "gpu"},
        "on_demand": True,
    },
    "gate": {"command": ["gate", "--listen", "${port}"], "port": 443, "stop_timeout": "2.5s"},
}
TARGETS: dict[str, dict[str, Any]] = {
    "supervisord": {"path": "/workspace/cres"},
    "systemd": {"path": "/srv/cres"},
    "systemd-user": {"platform": "systemd", "path": "/home/ann/cres", "user_units": True},
}
LANES = {"stable": Lane.STABLE, "candidate": Lane.CANDIDATE}


def rendered() -> dict[str, str]:
    files = {}
    for name, target in TARGETS.items():
        declared = Project.model_validate(
            {
                "name": "cres",
                "services": SERVICES,
                "targets": {"there": {"platform": name.partition("-")[0], "hosts": ["a"], **target}},
            }
        )
        stable = LaneOnTarget(declared, declared.targets["there"], Lane.STABLE, {})
        files |= {f"{name}/{path}": text for path, text in control.files(stable, None).items()}
        for which in LANES.values():
            for document in lane(declared, which)["services"]:
                if which is Lane.STABLE or document["name"] == "fastapi":
                    files[f"{name}/{document['manifest']['name']}"] = document["manifest"]["text"]
                if which is Lane.STABLE and name == "supervisord":
                    files[f"launcher/{document['name']}"] = document["launch"]
                if which is Lane.STABLE and name == "systemd" and document["name"] == "llama":
                    files["launcher/llama on systemd"] = document["launch"]
    return files


FILES = rendered()


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_as_reviewed(name: str) -> None:
    place = GOLDEN / name
    if os.environ.get(REWRITE):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(FILES[name])

    assert FILES[name] == place.read_text()


def test_no_reviewed_file_is_left_over() -> None:
    assert {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*") if path.is_file()} == set(FILES)


def test_rendering_again_gives_the_same_bytes() -> None:
    assert rendered() == FILES


@pytest.mark.parametrize("name", FILES)
def test_files_end_with_one_line_end_and_hold_no_stray_blanks(name: str) -> None:
    lines = FILES[name].split("\n")

    assert lines[-1] == ""
    assert lines[-2] != ""
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\n\n\n" not in FILES[name]


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("launcher/")])
def test_shells_find_nothing_wrong_with_the_launcher(name: str) -> None:
    for shell in (["dash"], ["busybox", "sh"], ["bash", "--posix"]):
        subprocess.run([*shell, "-n", GOLDEN / name], check=True)
