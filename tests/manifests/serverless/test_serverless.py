"""The files that people review, and what no function platform can hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from provision.errors import UnencodableValue, UsageError
from provision.manifests.encoders.gcloud import gcloud_env
from provision.manifests.encoders.sam import sam_attribute, sam_env, sam_ref, sam_secret
from provision.manifests.value import Value, Variable
from provision.platforms import face
from tests.manifests.kubernetes.projects import project
from tests.manifests.serverless.project import CRES, SERVICES, parsed
from tests.manifests.values import texts

GOLDEN = Path(__file__).parent / "golden"
HADOLINT = Path(sys.executable).with_name("hadolint")
CLOUDS = ("lambda", "cloud-function")


def rendered(cloud: str, folder: Path, **more: Any) -> dict[str, str]:
    service = {key: value for key, value in SERVICES["fastapi"].items() if key != "secrets"}
    return face(cloud).files(project({"web": {**service, **more}}), None, folder)


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("packages", ["uv.lock", "requirements.txt"])
def test_the_files_are_as_reviewed(cloud: str, packages: str, tmp_path: Path) -> None:
    (tmp_path / packages).touch()
    place = GOLDEN / cloud / packages.partition(".")[0]
    files = face(cloud).files(CRES, None, tmp_path)
    for name, text in files.items():
        if os.environ.get("REWRITE_GOLDEN"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        assert (place / name).read_text() == text

    assert sorted(files) == sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    assert face(cloud).files(CRES, None, tmp_path) == files


@pytest.mark.parametrize("packages", ["uv", "requirements"])
def test_hadolint_and_shellcheck_find_nothing(packages: str) -> None:
    subprocess.run([HADOLINT, "--no-color", GOLDEN / "lambda" / packages / "Dockerfile"], check=True)
    scripts = sorted((GOLDEN / "cloud-function" / packages).rglob("deploy.sh"))
    subprocess.run(["shellcheck", *scripts], check=True)


def test_the_template_is_what_was_declared() -> None:
    template = parsed((GOLDEN / "lambda" / "uv" / "template.yaml").read_text())
    fastapi, public = (template["Resources"][name]["Properties"] for name in ("FastapiFunction", "ResizeImageFunction"))

    assert fastapi["ImageUri"] == {"!Ref": "Image"}
    # Two cores come with 3538 MiB, and 4 GB are more.
    assert (fastapi["MemorySize"], fastapi["Timeout"], fastapi["ReservedConcurrentExecutions"]) == (3815, 60, 20)
    assert fastapi["Environment"]["Variables"] == {
        "GREETING": "it's 5 $ ; # 100%",
        "LOADS": "loads",
        "ON": "yes",
        "MINIO_ACCESS_KEY": "{{resolve:secretsmanager:cres/MINIO_ACCESS_KEY}}",
        "MINIO_SECRET_KEY": "{{resolve:secretsmanager:cres/MINIO_SECRET_KEY}}",
    }
    assert (fastapi["FunctionUrlConfig"], public["FunctionUrlConfig"]) == (
        {"AuthType": "AWS_IAM"},
        {"AuthType": "NONE"},
    )
    assert template["Outputs"]["FastapiFunctionUrl"]["Value"] == {"!GetAtt": "FastapiFunctionUrl.FunctionUrl"}


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"env": {"RLM_ENVIRONMENT": "docker"}}, 'env.RLM_ENVIRONMENT: "docker" needs a Docker daemon'),
        ({"env": {"A": "http://${services.web.host}"}}, "env.A: from .* no other service is found by its name"),
        ({"env": {"B4": "x" * 40_000}}, "env: it has 40002 bytes"),
        ({"check": {"tcp": "${port}"}}, "check: its port is asked by TCP"),
        ({"checks": [{"tcp": "${port}"}]}, "checks: its port is asked by TCP"),
        ({"on_demand": True}, "on_demand: a function runs while it answers"),
        ({"batch": True}, "batch: a function answers requests"),
        ({"binary": "bin/a"}, "binary: a function is Python"),
        ({"model": "a.gguf"}, "model: no caller waits"),
        ({"volumes": {"data": {"path": "/data", "size": "1GiB"}}}, "volumes: .* keep it in a store"),
        ({"resources": {"gpus": 1}}, "resources.gpus: a function gets no GPU"),
        ({"resources": {"vram": "1GiB"}}, "resources.vram: a function gets no GPU"),
        ({"resources": {"memory": "64GiB"}}, "resources.memory: .* at most"),
        ({"resources": {"cpus": 64}}, "resources.cpus: .* at most"),
        ({"expose": ["10.0.0.0/8"]}, "expose: .* tells no networks apart"),
        ({"serverless": {"entry": "a:b", "timeout": "2h"}}, "serverless.timeout: .* ends a function after"),
    ],
)
def test_what_no_function_can_be_is_refused_with_service_key_and_reason(
    cloud: str, more: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UnencodableValue, match=rf"^services\.web\.{said}"):
        rendered(cloud, tmp_path, **more)


@pytest.mark.parametrize(
    ("cloud", "more", "said"),
    [
        ("lambda", {"env": {"AWS_REGION": "x"}}, "env.AWS_REGION: AWS Lambda sets this variable itself"),
        ("lambda", {"secrets": ["AB", "_A"]}, r"secrets\[1\]: AWS Lambda takes names of two"),
        ("lambda", {"env": {"AB": "{{resolve:ssm:x}}"}}, "env.AB: .* is replaced by CloudFormation"),
        ("cloud-function", {"env": {"PORT": "1"}}, "env.PORT: Cloud Functions sets this variable itself"),
        ("cloud-function", {"serverless": {"entry": "main:a"}}, "serverless.entry: main would be the file"),
    ],
)
def test_what_one_of_them_cannot_hold_is_refused(cloud: str, more: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UnencodableValue, match=rf"^services\.web\.{said}"):
        rendered(cloud, tmp_path, **more)


def test_names_that_lambda_cannot_tell_apart_are_refused() -> None:
    service = {"command": ["a"], "serverless": {"entry": "a:b"}}

    with pytest.raises(UnencodableValue, match=r"services\.a1b: .* as A1BFunction, and services\.a-1b"):
        face("lambda").files(project({"a1b": service, "a-1b": service}), None, GOLDEN)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_project_without_a_function_is_told_so(cloud: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no service declares a function"):
        rendered(cloud, tmp_path, serverless=None)


@given(texts())
@settings(max_examples=500)
def test_a_variable_arrives_byte_for_byte(text: str) -> None:
    variable = Variable("ON", Value("x", (text,)))

    for encode in (sam_env, gcloud_env):
        assert parsed(encode(variable)) == {"ON": text} == yaml.safe_load(encode(variable))


@pytest.mark.parametrize("encode", [sam_ref, sam_attribute, sam_secret])
@pytest.mark.parametrize("text", ["", "a b", "a\nb: c", "}}", "!Sub x"])
def test_a_tag_or_a_reference_holds_a_name_alone(encode: Any, text: str) -> None:
    with pytest.raises(UnencodableValue, match="is not"):
        encode(Value("x", (text,)))


@pytest.mark.parametrize(
    ("cloud", "given"), [("lambda", ("an event", "a context")), ("cloud-function", ("a request",))]
)
def test_a_coroutine_is_waited_for_and_given_what_the_platform_gives(
    cloud: str, given: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "coro.py").write_text("async def answer(*given):\n    return list(given)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = rendered(cloud, tmp_path, serverless={"entry": "coro:answer", "takes": "event"})
    handler = next(text for name, text in made.items() if name.endswith(".py"))
    space: dict[str, Any] = {"__file__": str(tmp_path / "main.py")}

    exec(handler, space)

    assert space["handle"](*given) == list(given)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_presets_volume_is_a_folder_that_a_function_can_write_to(cloud: str, tmp_path: Path) -> None:
    env = {"RLM_ENVIRONMENT": "local"}
    made = face(cloud).files(
        project({"rlm": {"preset": "rlm-runtime", "command": ["a"], "env": env, "serverless": {"entry": "a:b"}}}),
        None,
        tmp_path,
    )

    document = parsed(next(text for text in made.values() if "RLM_LOG_DIR" in text))
    if cloud == "lambda":
        document = document["Resources"]["RlmFunction"]["Properties"]["Environment"]["Variables"]
    assert document["RLM_LOG_DIR"] == "/tmp/logs"
