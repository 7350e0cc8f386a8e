"""What deploy.sh hands to gcloud, and the function in it under Google's own framework."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from provision.manifests.serverless.google import files
from tests.manifests.serverless.project import CRES, commit, write_code

FRAMEWORK = Path(sys.executable).with_name("functions-framework")
# Stands where gcloud would, and keeps what it is given.
GCLOUD = """\
#!/bin/sh
printf '%s\\n' "$@" >"$KEPT/arguments"
for each; do
    case $each in --source=*) cp -R "${each#--source=}" "$KEPT/source" ;; esac
done
"""


def deployed(folder: Path, service: str) -> list[str]:
    """The arguments for gcloud; the source is in folder/source."""
    project, out = folder / "project", folder / "out"
    write_code(project)
    (project / "requirements.txt").write_text("")
    commit(project)
    (project / ".env").write_text("MINIO_SECRET_KEY=hunter2\n")
    for name, text in files(CRES, None, project).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    (folder / "gcloud").write_text(GCLOUD)
    (folder / "gcloud").chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "KEPT": str(folder)}
    subprocess.run(["sh", out / service / "deploy.sh", project, "europe-west4"], check=True, env=env)
    return (folder / "arguments").read_text().splitlines()


class Running:
    """A function as the platform runs it: the framework, on the source, with the variables."""

    def __init__(self, folder: Path, service: str) -> None:
        arguments = deployed(folder, service)
        target = next(each.partition("=")[2] for each in arguments if each.startswith("--entry-point="))
        files = [Path(each.partition("=")[2]) for each in arguments if each.startswith("--env-vars-file=")]
        self.folder, self.log = folder, folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [FRAMEWORK, "--target", target, "--host", "127.0.0.1", "--port", "0"],
                cwd=folder / "source",
                env={
                    **{name: value for file in files for name, value in yaml.safe_load(file.read_text()).items()},
                    "PATH": os.environ["PATH"],
                    "GUNICORN_LOG_LEVEL": "info",  # says the port
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def address(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if found := re.search(r"Listening at: (http://\S+)", self.log.read_text()):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("google"), "fastapi") as running:
        yield running


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ('{"a": "é"}', 200, {"got": {"a": "é"}}),
        ("", 200, {"got": None}),
        ('{"ask": "GREETING"}', 200, {"is": "it's 5 $ ; # 100%"}),
        ("{", 400, {"error": "the body is not JSON"}),
        ('{"raise": "refused"}', 422, {"error": "too many pixels"}),
        ('{"raise": "late"}', 504, {"error": "it took too long"}),
        ('{"raise": "upstream"}', 500, {"error": "internal error"}),
        ('{"raise": "bug"}', 500, {"error": "internal error"}),
    ],
)
def test_a_request_is_answered_and_no_detail_of_a_failure_with_it(
    running: Running, body: str, status: int, answer: dict[str, Any]
) -> None:
    said = httpx.post(running.address(), content=body.encode(), timeout=60)

    told = said.json()
    number = told.pop("request", "")
    assert (said.status_code, told, said.headers["content-type"]) == (status, answer, "application/json")
    assert "hunter2" not in said.text
    assert bool(number) == (status != 200)
    assert status < 500 or f"request {number} failed" in running.log.read_text()


def test_many_requests_start_the_service_once(running: Running) -> None:
    for number in range(5):
        assert httpx.post(running.address(), json=number, timeout=60).json() == {"got": number}

    assert (running.folder / "source" / "loads").read_text() == "loaded\n"


def test_one_that_cannot_start_ends_and_says_why_in_the_log(tmp_path: Path) -> None:
    with Running(tmp_path, "resize-image") as running:
        assert running.process.wait(60) != 0

    assert "no file /etc/hunter2" in running.log.read_text()


def test_gcloud_is_given_what_is_declared_and_no_secret(tmp_path: Path) -> None:
    arguments = deployed(tmp_path, "fastapi")

    assert arguments[:3] == ["functions", "deploy", "cres-fastapi"]
    assert {
        "--gen2",
        "--region=europe-west4",
        "--no-allow-unauthenticated",
        "--memory=3815Mi",
        "--cpu=2",
        "--timeout=60s",
        "--max-instances=20",
        "--set-secrets=MINIO_ACCESS_KEY=cres-MINIO_ACCESS_KEY:latest,MINIO_SECRET_KEY=cres-MINIO_SECRET_KEY:latest",
    } <= set(arguments)
    sent = sorted(path.name for path in (tmp_path / "source").rglob("*") if path.is_file())
    assert sent == [".gitignore", "__init__.py", "broken.py", "functions.py", "main.py", *["requirements.txt"] * 2]


def test_what_is_declared_no_more_goes(tmp_path: Path) -> None:
    arguments = deployed(tmp_path, "resize-image")

    assert {"--allow-unauthenticated", "--clear-max-instances", "--clear-secrets", "--clear-env-vars"} <= set(arguments)


@pytest.mark.parametrize(("written", "given"), [("a==1\n", True), ("a==1 --hash=sha256:0\n", False)])
def test_no_package_without_a_hash_stands_among_those_with_one(written: str, given: bool, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(written)
    lines = files(CRES, None, tmp_path)["fastapi/requirements.txt"].splitlines()

    assert lines[-1] == "-r app/requirements.txt"
    assert ("functions-framework>=3.8,<4" in lines) is given
