"""The handlers under Lambda's own runtime client, started as the image and the SAM template say."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.manifests.serverless.aws import files
from tests.manifests.serverless.project import CRES, parsed, write_code
from tests.manifests.serverless.runtime_api import RuntimeApi


class Running:
    """A function as Lambda runs it: the image's entrypoint, the template's command and environment."""

    def __init__(self, folder: Path, name: str) -> None:
        write_code(folder)
        rendered = files(CRES, None, folder)
        for file, text in rendered.items():
            (folder / file).write_text(text)
        properties = parsed(rendered["template.yaml"])["Resources"][name]["Properties"]
        entrypoint = json.loads(rendered["Dockerfile"].rpartition("ENTRYPOINT ")[2])
        env = {**properties.get("Environment", {}).get("Variables", {}), "PYTHONDONTWRITEBYTECODE": "1"}
        self.api = RuntimeApi()
        self.log = folder / "log"
        self.folder = folder
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *entrypoint[1:], *properties["ImageConfig"]["Command"]],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "AWS_LAMBDA_RUNTIME_API": self.api.address, **env},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Running:
        self.api.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.api.__exit__(None, None, None)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("lambda"), "FastapiFunction") as running:
        yield running


def http(body: str, **more: Any) -> dict[str, Any]:
    """An event of the function's URL."""
    return {"version": "2.0", "requestContext": {"http": {"method": "POST"}}, "body": body, **more}


@pytest.mark.parametrize(
    ("event", "status", "answer"),
    [
        (http('{"a": "é"}'), 200, {"got": {"a": "é"}}),
        (http(base64.b64encode('["ö"]'.encode()).decode(), isBase64Encoded=True), 200, {"got": ["ö"]}),
        (http(""), 200, {"got": None}),
        (http('{"ask": "GREETING"}'), 200, {"is": "it's 5 $ ; # 100%"}),
        (http('{"ask": "ON"}'), 200, {"is": "yes"}),
        (http("{"), 400, {"error": "the body is not JSON"}),
        (http("[" * 100_000), 400, {"error": "the body is not JSON"}),
        (http('{"raise": "refused"}'), 422, {"error": "too many pixels"}),
        (http('{"raise": "late"}'), 504, {"error": "it took too long"}),
        (http('{"raise": "upstream"}'), 500, {"error": "internal error"}),
        (http('{"raise": "odd"}'), 500, {"error": "internal error"}),
        (http('{"raise": "bug"}'), 500, {"error": "internal error"}),
    ],
)
def test_a_request_is_answered_and_no_detail_of_a_failure_with_it(
    running: Running, event: dict[str, Any], status: int, answer: dict[str, Any]
) -> None:
    said = running.api.invoke(event)

    assert said.where == "response"
    body = json.loads(said.body["body"])
    assert bool(body.pop("request", None)) == (status != 200)
    assert (said.body["statusCode"], body) == (status, answer)
    assert "hunter2" not in said.text


def test_what_is_no_http_request_is_handed_over_as_it_is(running: Running) -> None:
    assert running.api.invoke({"Records": [1]}).body == {"got": {"Records": [1]}}


def test_a_failure_without_http_is_an_error_for_the_platform_and_details_stay_in_the_log(running: Running) -> None:
    said = running.api.invoke({"raise": "bug"})

    assert (said.where, said.body["errorType"]) == ("error", "Failed")
    number = json.loads(said.body["errorMessage"])["request"]
    assert "hunter2" not in said.text
    assert "src/functions.py" not in said.text
    log = running.log.read_text()
    assert f"request {number} failed" in log
    assert "ValueError: hunter2 is no number" in log


def test_many_requests_start_the_service_once(running: Running) -> None:
    for number in range(5):
        assert running.api.invoke(number).body == {"got": number}

    assert (running.folder / "loads").read_text() == "loaded\n"


def test_one_that_cannot_start_says_so_and_why_in_the_log_alone(tmp_path: Path) -> None:
    with Running(tmp_path, "ResizeImageFunction") as running:
        said = running.api.heard()
        status = running.process.wait(60)

    assert (said.where, status) == ("init/error", 1)
    assert said.body["errorMessage"] == "resize-image cannot start; its log says why"
    assert "hunter2" not in said.text
    assert "no file /etc/hunter2" in running.log.read_text()
