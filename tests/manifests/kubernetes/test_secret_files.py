"""Secrets as files in a pod."""

from __future__ import annotations

import kubernetes_validate
import pytest

from provision.manifests.kubernetes import render_kubernetes
from provision.manifests.kubernetes.faults import faults
from provision.manifests.kubernetes.objects import parse_objects
from tests.manifests.kubernetes.projects import project

OBJECTS = parse_objects(
    "stable/web.yaml",
    render_kubernetes(
        project({"web": {"command": ["web", "${secret_files.KEY}"], "secrets": ["TOKEN"], "secret_files": ["KEY"]}})
    )["stable/web.yaml"],
)
POD = next(each.pod for each in OBJECTS if each.kind == "Deployment")["spec"]  # type: ignore[index]


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_clusters_take_it(version: str) -> None:
    for each in OBJECTS:
        kubernetes_validate.validate(each.body, version, strict=True)
    assert faults(OBJECTS) == []


def test_the_container_finds_its_key_as_a_file_and_not_in_its_environment() -> None:
    (container,) = POD["containers"]
    (config,) = [each for each in OBJECTS if each.kind == "ConfigMap"]

    assert container["command"] == ["web", "/run/secrets/KEY"]
    assert config.at("data") == {"KEY_FILE": "/run/secrets/KEY"}
    assert [each["name"] for each in container["env"]] == ["TOKEN"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/run/secrets"]
    (volume,) = [volume for volume in POD["volumes"] if volume["name"] == mount["name"]]
    assert mount["readOnly"] is True
    assert volume["secret"]["items"] == [{"key": "KEY", "path": "KEY"}]


def test_the_file_is_read_by_the_containers_own_group_and_by_nobody_else() -> None:
    (volume,) = [volume for volume in POD["volumes"] if volume["name"] == "secrets"]

    assert volume["secret"]["defaultMode"] == 0o440
    assert POD["securityContext"]["fsGroup"] == POD["securityContext"]["runAsGroup"]
