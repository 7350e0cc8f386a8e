"""What is decided without a cluster: how things stand, what differs, what a release is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.cluster.kept.wanted import rendered, service_of, unpacked
from provision.cluster.server.objects import differences, in_order
from provision.cluster.waiting.standing import Standing, deployment
from provision.errors import Degraded
from provision.manifests.kubernetes import files
from provision.manifests.kubernetes.rbac import render_rbac
from provision.project.target import Target
from tests.manifests.fetched.test_fetched import PLAIN
from tests.manifests.fetched.test_fetched import project as modelled
from tests.manifests.kubernetes.projects import CRES

TARGET = Target.model_construct(platform="kubernetes", services=None)


def made(**status: Any) -> dict[str, Any]:
    """A Deployment of two copies, seen by its controller."""
    whole = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}
    notes = {"deployment.kubernetes.io/revision": "5"}
    metadata = {"name": "web", "uid": "d", "generation": 3, "annotations": notes}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": 2}, "status": {**whole, **status}}


def copies(revision: str) -> dict[str, Any]:
    notes = {"deployment.kubernetes.io/revision": revision}
    return {"metadata": {"uid": f"set{revision}", "annotations": notes, "ownerReferences": [{"uid": "d"}]}}


def pod(revision: str, reason: str) -> dict[str, Any]:
    waiting = [{"state": {"waiting": {"reason": reason, "message": "why"}}, "ready": False}]
    metadata = {"name": f"web-{revision}", "uid": revision, "ownerReferences": [{"uid": f"set{revision}"}]}
    return {"metadata": metadata, "status": {"containerStatuses": waiting}}


FAILED = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too late"}
STANDINGS: list[tuple[dict[str, Any], list[dict[str, Any]], str, str]] = [
    ({}, [], "ready", ""),
    ({"observedGeneration": 2}, [], "waiting", "has not seen it yet"),
    ({"updatedReplicas": 1, "replicas": 3}, [], "waiting", "1 of 2 available: 2 old ones end"),
    ({"availableReplicas": 1}, [], "waiting", "1 of 2 available"),
    ({"availableReplicas": 0}, [pod("5", "CrashLoopBackOff")], "stuck", "CrashLoopBackOff: why"),
    ({"availableReplicas": 0}, [pod("5", "ImagePullBackOff")], "stuck", "ImagePullBackOff: why"),
    ({"availableReplicas": 0}, [pod("5", "ContainerCreating")], "waiting", "ContainerCreating"),
    ({"availableReplicas": 0}, [pod("4", "CrashLoopBackOff")], "waiting", "0 of 2"),  # the old one's
    ({"conditions": [FAILED], "availableReplicas": 1}, [], "stuck", "exceeded quota"),
    ({"conditions": [FAILED]}, [], "ready", ""),  # what failed was not of what runs
    ({"conditions": [LATE], "availableReplicas": 1}, [], "stuck", "too late"),
]


@pytest.mark.parametrize(("status", "pods", "state", "told"), STANDINGS)
def test_what_no_waiting_mends_is_told_from_what_is_on_its_way(
    status: dict[str, Any], pods: list[dict[str, Any]], state: str, told: str
) -> None:
    found = deployment(made(**status), [copies("4"), copies("5")], pods)

    assert (found.state, told in found.told) == (state, True), found
    assert deployment(None, [], []) == Standing("waiting", "it is not there yet")


DIFFERENCES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"spec": {"a": 1}}, {"spec": {"a": 2}}, ["spec.a: 1 -> 2"]),
    ({"spec": {"a": 1}}, {"spec": {}}, ["spec.a: 1 -> nothing"]),
    (
        {"spec": {"all": [{"name": "x", "image": "1"}, {"name": "y"}]}},
        {"spec": {"all": [{"name": "y"}, {"name": "x", "image": "2"}]}},
        ["spec.all[x].image: 1 -> 2"],
    ),
    ({"spec": {"all": ["a"]}}, {"spec": {"all": ["a", "b"]}}, ["spec.all[1]: nothing -> b"]),
    ({"status": {"a": 1}, "metadata": {"generation": 1}}, {"status": {"a": 2}, "metadata": {"generation": 2}}, []),
    ({"metadata": {"labels": {"a": "b"}}}, {"metadata": {"labels": {"a": "c"}}}, ["metadata.labels.a: b -> c"]),
]


@pytest.mark.parametrize(("before", "after", "said"), DIFFERENCES)
def test_differences_are_told_field_by_field(before: dict[str, Any], after: dict[str, Any], said: list[str]) -> None:
    assert differences(before, after) == said


def test_a_release_is_the_same_wherever_it_is_rendered_and_comes_back_as_it_was(tmp_path: Path) -> None:
    release = rendered(CRES, TARGET, tmp_path)

    assert release == rendered(CRES, TARGET, tmp_path)
    assert unpacked(release.packed()) == release
    assert len(release.packed()) < 1 << 20


def test_what_is_applied_is_what_people_are_shown_so_a_model_is_fetched_here_as_there(tmp_path: Path) -> None:
    loaded = modelled(tmp_path, PLAIN)

    release = rendered(loaded.project, TARGET, tmp_path)

    shown = list(yaml.safe_load_all(files(loaded.project, TARGET, tmp_path)["stable/llm.yaml"]))
    assert [node for node in release.lanes["stable"] if service_of(node) == "llm"] == in_order(shown)
    assert "initContainers" in str(shown)


def test_a_release_that_somebody_changed_is_not_applied(tmp_path: Path) -> None:
    release = rendered(CRES, TARGET, tmp_path)

    with pytest.raises(Degraded, match="somebody has changed it"):
        unpacked(replace(release, checks={"stable": [], "canary": []}).packed())
    with pytest.raises(Degraded, match="can't be read"):
        unpacked("AAAA")


def test_the_account_of_a_deploy_may_make_namespaces_and_end_none() -> None:
    files = render_rbac("cres", "shop")
    rules = [
        (resource, verb)
        for text in files.values()
        for each in yaml.safe_load_all(text)
        for rule in each.get("rules", ())
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]

    assert "*" not in str(rules)
    assert [verb for resource, verb in rules if resource == "namespaces"] == ["get", "create"]
