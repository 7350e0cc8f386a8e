"""One volume that several services have: a queue in a folder, say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provision.manifests import compose
from provision.manifests.kubernetes import render_kubernetes
from provision.manifests.kubernetes.faults import faults
from provision.manifests.kubernetes.objects import parse_objects
from provision.manifests.kubernetes.pods import Granted
from provision.project.service import Lane
from tests.manifests import projects
from tests.manifests.compose.composer import config
from tests.manifests.kubernetes.projects import project

JOBS = {"path": "/jobs", "size": "1GiB", "shared": True}
SERVICES: dict[str, Any] = {
    "api": {"command": ["api"], "port": 8000, "volumes": {"jobs": JOBS}},
    "worker": {"command": ["work"], "volumes": {"jobs": {"path": "/queue", "of": "api"}}},
}


def test_compose_mounts_one_volume_in_both(tmp_path: Path) -> None:
    text = compose.files(project(SERVICES), None, Path("/nowhere"))["compose.yaml"]

    read = config(text, tmp_path)

    assert list(read["volumes"]) == ["api-jobs"]
    mounted = {
        name: [(each["source"], each["target"]) for each in read["services"][name]["volumes"]] for name in SERVICES
    }
    assert mounted == {"api": [("api-jobs", "/jobs")], "worker": [("api-jobs", "/queue")]}


@pytest.mark.parametrize("claim", [None, "jobs-of-everybody"])
def test_pods_of_both_have_one_claim_and_it_is_made_once_if_at_all(claim: str | None) -> None:
    jobs = {**JOBS, "claim": claim} if claim else JOBS
    declared = project({**SERVICES, "api": {**SERVICES["api"], "volumes": {"jobs": jobs}}})
    objects = [each for name, text in render_kubernetes(declared).items() for each in parse_objects(name, text)]

    pods = [each.pod for each in objects if each.kind == "Deployment"]
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods
        if pod
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    made = [each for each in objects if each.kind == "PersistentVolumeClaim"]

    assert len(pods) == 4  # a stable and a canary lane of each
    assert claims == ({claim} if claim else {"api-jobs", "api-canary-jobs"})
    assert {(each.name, *each.body["spec"]["accessModes"]) for each in made} == (
        set() if claim else {("api-jobs", "ReadWriteMany"), ("api-canary-jobs", "ReadWriteMany")}
    )
    assert len(made) == len({each.name for each in made})
    assert faults(objects, Granted(frozenset({claim} if claim else ()))) == []


def test_an_engine_gives_both_the_same_volume_of_their_lane() -> None:
    image = "ghcr.io/owner/app@sha256:" + "1" * 64
    services = {name: {**service, "image": image} for name, service in SERVICES.items()}
    declared = projects.project(services, platform="docker")

    def binds(name: str, lane: Lane) -> list[str]:
        text = projects.service(declared, name, lane)["manifest"]["text"]
        return [each for each in json.loads(text)["HostConfig"]["Binds"] if each.startswith("cres-")]

    assert (binds("api", Lane.STABLE), binds("worker", Lane.STABLE)) == (
        ["cres-api.jobs:/jobs"],
        ["cres-api.jobs:/queue"],
    )
    assert binds("worker", Lane.CANARY) == [f"{binds('api', Lane.CANARY)[0].partition(':')[0]}:/queue"]
