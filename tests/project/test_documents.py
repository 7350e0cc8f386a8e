"""Documentation, schema and examples say what the code does."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from provision.project import json_schema, load
from provision.project.checks import Check
from provision.project.front import Front
from provision.project.models import Model
from provision.project.parts import (
    Alert,
    Ask,
    Liveness,
    Metrics,
    Probes,
    Proxy,
    Requests,
    Resources,
    Restart,
    Serverless,
    Volume,
)
from provision.project.python import Python
from provision.project.renting import Budget, Needs
from provision.project.rollout import Figures, Limits, Rollout
from provision.project.schema import Head, Hooks, Prepare
from provision.project.service import Service
from provision.project.target import Firewall, Target
from provision.project.traffic import Acme, Traffic

ROOT = Path(__file__).parents[2]
DOCUMENTED = "\n".join(re.findall(r"```toml\n(.*?)```", (ROOT / "docs/deploy.toml.md").read_text(), re.DOTALL))
VARIABLES = {
    "VAST_HOST": "1.2.3.4",
    "VAST_PORT": "22",
    "VAST_SSH_KEY": "~/.ssh/id",
    "MINIO_ACCESS_KEY": "x",
    "LLAMA_API_KEY": "y",
    "HF_TOKEN": "z",
    "UV_DEFAULT_INDEX": "https://user:word@index.example.net/simple",
}


def test_the_documented_file_loads(tmp_path):
    (tmp_path / "deploy.toml").write_text(DOCUMENTED)
    (tmp_path / "requirements.txt").touch()

    declared = list(load(tmp_path, environ=VARIABLES).project.targets)
    assert declared == ["vast", "fleet", "boxes", "k8s", "gpu", "home"]


@pytest.mark.parametrize(
    ("model", "tables"),
    [
        (Head, lambda file: [file["project"]]),
        (Service, lambda file: file["services"].values()),
        (Resources, lambda file: [file["services"][name]["resources"] for name in ("llama", "embedder")]),
        (Requests, lambda file: [file["services"]["llama"]["resources"]["requests"]]),
        (Restart, lambda file: [file["services"]["worker-gpu"]["restart"]]),
        (Volume, lambda file: file["services"]["rollout"]["volumes"].values()),
        (Ask, lambda file: [file["services"]["rollout"]["probes"]["health"]]),
        (Probes, lambda file: [file["services"]["rollout"]["probes"]]),
        (Liveness, lambda file: file["services"]["rollout"]["probes"].values()),
        (Serverless, lambda file: [file["services"]["fastapi"]["serverless"]]),
        (Proxy, lambda file: [file["services"]["fastapi"]["proxy"], _by_itself()["services"]["web"]["proxy"]]),
        (Alert, lambda file: [file["services"]["llama"]["metrics"]["alerts"]["crowded"]]),
        (Metrics, lambda file: [file["services"]["llama"]["metrics"]]),
        (Check, lambda file: [check for service in file["services"].values() for check in service.get("checks", [])]),
        (Prepare, lambda file: [file["prepare"]]),
        (Model, lambda file: file["models"].values()),
        (Hooks, lambda file: [file["hooks"]]),
        (Target, lambda file: [*file["targets"].values(), *_by_itself("front")["targets"].values()]),
        (Front, lambda _: [_by_itself("front")["targets"]["gpu"]["front"]]),
        (Needs, lambda file: [file["targets"]["gpu"]["needs"]]),
        (Budget, lambda file: [file["targets"]["gpu"]["budget"]]),
        (Firewall, lambda file: [file["targets"]["fleet"]["firewall"]]),
        (Traffic, lambda file: [file["targets"]["fleet"]["traffic"], _by_itself()["targets"]["prod"]["traffic"]]),
        (Acme, lambda _: [_by_itself()["targets"]["prod"]["traffic"]["acme"]]),
        (Rollout, lambda file: [file["targets"][name]["rollout"] for name in ("fleet", "vast", "k8s")]),
        (Figures, lambda file: [file["targets"]["k8s"]["rollout"]["figures"]]),
        (Limits, lambda file: [file["targets"]["vast"]["rollout"]["abort"]]),
    ],
)
def test_every_key_has_an_example(model: type[BaseModel], tables):
    shown = {key for table in tables(tomllib.loads(DOCUMENTED)) for key in table}
    if model is Check:
        shown |= set(tomllib.loads(DOCUMENTED)["checks"]["batch"])

    assert set(model.model_fields) - shown == set()


def _by_itself(key: str = "acme") -> dict[str, Any]:
    """The example of a target that stands for itself: how a certificate is had, or many machines behind one front."""
    instead = re.findall(r"```toml instead\n(.*?)```", (ROOT / "docs/deploy.toml.md").read_text(), re.DOTALL)
    (found,) = (each for each in map(tomllib.loads, instead) if f"'{key}':" in str(each.get("targets")))
    return found


def test_every_key_of_an_environment_has_an_example():
    instead = re.findall(r"```toml instead\n(.*?)```", (ROOT / "docs/deploy.toml.md").read_text(), re.DOTALL)
    shown = {key for text in (DOCUMENTED, *instead) for key in tomllib.loads(text).get("python", {})}

    assert set(Python.model_fields) - shown == {"source"}  # which the text explains


def test_the_published_schema_is_current():
    assert (ROOT / "schema/deploy.schema.json").read_text() == json_schema.text(), (
        "write it anew: python -m provision.project.json_schema > schema/deploy.schema.json"
    )


def test_the_published_schema_accepts_what_loads_and_refuses_what_does_not():
    schema = json.loads(json_schema.text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    mistyped = tomllib.loads(DOCUMENTED)
    mistyped["services"]["llama"]["prot"] = 1

    assert list(validator.iter_errors(tomllib.loads(DOCUMENTED))) == []
    assert [error.validator for error in validator.iter_errors(mistyped)] == ["additionalProperties"]


def test_every_key_of_the_published_schema_is_explained():
    schema = json.loads(json_schema.text())
    silent = {
        f"{section}.{key}"
        for section, definition in {**schema["$defs"], "Declaration": schema}.items()
        for key, value in definition.get("properties", {}).items()
        if not {"description", "$ref"} & set(value)  # a table is described where it is defined
    }

    assert silent == set()


def test_the_minimal_example_loads_without_any_variable():
    assert load(ROOT / "examples/minimal", environ={}).project.name == "minimal"


@pytest.mark.parametrize("name", ["rlm-runtime", "rollout-server"])
def test_an_example_needs_its_secrets_and_nothing_else(name: str):
    secrets = {"ROLLOUT_API_KEY": "a", "ROLLOUT_CALLBACK_KEY": "b", "OPENAI_API_KEY": "c", "RLM_SERVER_TOKEN": "d"}

    assert {"fleet", "sandbox"} == set(load(ROOT / "examples" / name, environ=secrets).project.targets)


def test_the_example_of_variables_can_be_read(tmp_path):
    (tmp_path / "deploy.toml").write_text(DOCUMENTED)
    (tmp_path / "requirements.txt").touch()
    filled = re.sub(
        r"=$", "=7", re.sub(r"(?m)^#(?=[A-Z_]+=)", "", (ROOT / ".env.example").read_text()), flags=re.MULTILINE
    )
    (tmp_path / ".env").write_text(filled)

    assert load(tmp_path, environ={}).project.targets["vast"].hosts[0].text == "root@7:7"
