"""What the readers say: strict schemas of every supported version, and kustomize itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from provision.manifests.kubernetes import render_kubernetes
from provision.manifests.kubernetes.faults import faults
from provision.manifests.kubernetes.objects import Object, parse_objects
from tests.manifests.kubernetes.projects import CRES, project

KUBECTL = Path(sys.executable).with_name("kubectl")
FILES = render_kubernetes(CRES)


def built(overlay: str, folder: Path) -> list[dict[str, Any]]:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    done = subprocess.run(
        [KUBECTL, "kustomize", folder / "overlays" / overlay], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("version", ["1.30", "1.34", "1.37"])
def test_every_object_passes_the_strict_schema(version: str) -> None:
    for text in FILES.values():
        for document in yaml.safe_load_all(text):
            if document["kind"] != "Kustomization":
                kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize(
    ("overlay", "namespace"), [("production", "cres"), ("staging", "cres-staging"), ("canary", "cres")]
)
def test_an_overlay_is_built_into_its_namespace(overlay: str, namespace: str, tmp_path: Path) -> None:
    objects = built(overlay, tmp_path)

    places = {each["metadata"].get("namespace") for each in objects if each["kind"] != "Namespace"}
    assert places == {namespace}
    assert faults([Object(overlay, each) for each in objects]) == []


def test_staging_has_one_copy_of_each_and_production_as_many_as_declared(tmp_path: Path) -> None:
    staging, production = built("staging", tmp_path), built("production", tmp_path)

    assert named(staging, "Deployment", "gate")["spec"]["replicas"] == 1
    assert named(staging, "HorizontalPodAutoscaler", "fastapi")["spec"]["minReplicas"] == 1
    assert named(production, "Deployment", "gate")["spec"]["replicas"] == 2
    assert named(production, "HorizontalPodAutoscaler", "fastapi")["spec"]["minReplicas"] == 3
    assert named(production, "Deployment", "worker-gpu")["spec"]["replicas"] == 0


def test_stable_and_canary_in_one_namespace_share_no_name_and_take_only_their_own_pods(tmp_path: Path) -> None:
    both = [Object("", each) for each in (*built("production", tmp_path), *built("canary", tmp_path))]

    assert faults(both) == []
    for service in (each for each in both if each.kind == "Service"):
        taken = [
            each.name
            for each in both
            if each.pod and service.at("spec", "selector").items() <= each.pod["metadata"]["labels"].items()
        ]
        assert taken == [service.name]


def test_a_canary_talks_to_canaries() -> None:
    canary = "".join(text for name, text in FILES.items() if name.startswith("overlays/canary/"))

    assert "http://llama-canary:8081/health" in canary
    assert "channel: stable" not in canary


def test_prometheus_in_its_namespace_reaches_what_names_it_and_nothing_else(tmp_path: Path) -> None:
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    policies = [each for each in built("production", tmp_path) if each["kind"] == "NetworkPolicy"]
    open_to_it = [
        (each["metadata"]["name"], rule["ports"])
        for each in policies
        for rule in each["spec"].get("ingress") or ()
        if monitoring in rule["from"]
    ]
    assert open_to_it == [("fastapi", [{"port": "main", "protocol": "TCP"}])]


@pytest.mark.parametrize(
    "change",
    [{"command": ["migrate", "down"]}, {"env": {"TO": "1"}}, {"resources": {"memory": "2GB"}}, {"secrets": ["URL"]}],
)
def test_a_job_has_another_name_once_it_runs_something_else_and_only_then(change: dict[str, Any]) -> None:
    """The API server refuses a Job whose pods changed, and runs one of the same name once."""

    def job(**changed: Any) -> str:
        migrate = {"command": ["migrate"], "batch": True, **changed}
        files = render_kubernetes(project({"migrate": migrate, "web": {"command": ["web"]}}))
        (found,) = [each.name for each in parse_objects("", files["stable/migrate.yaml"]) if each.kind == "Job"]
        return found

    assert job() == job()
    assert job(**change) != job()
