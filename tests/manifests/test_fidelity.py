"""A pod and a Compose service with the very names and numbers that operators have written down elsewhere.

What a cluster or Compose reads is compared with what deploy.toml says in its own words, and judged by their readers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from provision.manifests import compose
from provision.manifests.kubernetes import render_kubernetes
from provision.manifests.kubernetes.faults import faults
from provision.manifests.kubernetes.objects import Object, parse_objects
from provision.manifests.kubernetes.pods import Granted
from provision.project.schema import Project
from tests.manifests.compose.composer import config
from tests.manifests.kubernetes.projects import project

DOCTOR = ["rlm", "doctor"]
CLAIM, SOCKET = "rlm-logs-pvc", "/run/docker.sock"
SERVICES: dict[str, Any] = {
    "rlm": {
        "command": ["rlm", "serve"],
        "port": 8080,
        "image": "rlm-runtime:latest",
        "replicas": 3,
        "secrets": ["SNIPARA_API_KEY", "OPENAI_API_KEY"],
        "secret_keys": {"SNIPARA_API_KEY": "rlm-secrets/snipara-api-key"},
        "env": {"RLM_ENVIRONMENT": "docker", "RLM_LOG_DIR": "/app/logs"},
        "docker": SOCKET,
        "docker_group": 998,
        "check": {"command": DOCTOR},
        "expose": ["0.0.0.0/0"],
        "load_balancer": 80,
        "resources": {"memory": "2GiB", "cpus": 2, "requests": {"memory": "512MiB", "cpus": 0.5}},
        "probes": {
            "liveness": {"delay": "30s", "period": "60s"},
            "readiness": {"delay": "10s", "period": "30s"},
            "health": {"period": "30s", "timeout": "10s", "failures": 3},
        },
        "volumes": {"logs": {"path": "/app/logs", "claim": CLAIM, "shared": True}},
    },
    "rollout-server": {
        "command": ["rollout"],
        "port": 9000,
        "image": "rollout-server:latest",
        "check": {"http": "/health"},
        "resources": {"memory": "8GiB", "cpus": 4, "requests": {"memory": "4GiB", "cpus": 2}},
        "probes": {
            "liveness": {"delay": "10s", "period": "30s"},
            "readiness": {"delay": "5s", "period": "10s"},
            "health": {"delay": "5s", "period": "30s", "timeout": "10s"},
        },
    },
    "both": {
        "command": ["both"],
        "port": 9100,
        "probes": {"liveness": {"asks": "port", "period": "20s"}},
        "secret_files": ["CERTIFICATE", "KEY"],
        "secret_keys": {"KEY": "keys/tls.key"},
    },
}
DECLARED = project(SERVICES, user_id=1000)
FILES = render_kubernetes(DECLARED)
OBJECTS = {name: parse_objects(name, text) for name, text in FILES.items()}


def the(kind: str, name: str) -> Object:
    (found,) = [each for objects in OBJECTS.values() for each in objects if (each.kind, each.name) == (kind, name)]
    return found


def spec(name: str) -> dict[str, Any]:
    pod = the("Deployment", name).pod
    assert pod is not None
    return dict(pod["spec"])


def container(name: str) -> dict[str, Any]:
    (found,) = spec(name)["containers"]
    return dict(found)


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_clusters_take_all_of_it(version: str) -> None:
    every = [each for objects in OBJECTS.values() for each in objects]
    for each in every:
        kubernetes_validate.validate(each.body, version, strict=True)
    assert faults(every, Granted(frozenset({CLAIM}), frozenset({SOCKET}))) == []


def test_a_socket_of_an_engine_is_a_fault_unless_somebody_handed_it_over() -> None:
    found = faults([the("Deployment", "rlm")], Granted(frozenset({CLAIM})))

    assert any("forbids a hostPath volume" in fault for fault in found)


def test_a_claim_that_nobody_named_is_missed() -> None:
    assert any(f"no PersistentVolumeClaim {CLAIM}" in fault for fault in faults([the("Deployment", "rlm")]))


def test_the_account_has_the_number_that_was_given() -> None:
    context = spec("rlm")["securityContext"]

    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (1000, 1000, 1000)


def test_a_secret_comes_from_the_key_that_is_there_and_the_others_from_the_services_own() -> None:
    sources = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container("rlm")["env"]}

    assert sources == {
        "SNIPARA_API_KEY": {"name": "rlm-secrets", "key": "snipara-api-key"},
        "OPENAI_API_KEY": {"name": "rlm-secrets", "key": "OPENAI_API_KEY"},
    }


def test_files_of_several_secrets_lie_in_one_folder_by_their_names() -> None:
    (volume,) = [each for each in spec("both")["volumes"] if each["name"] == "secrets"]

    assert [each["secret"] for each in volume["projected"]["sources"]] == [
        {"name": "both-secrets", "items": [{"key": "CERTIFICATE", "path": "CERTIFICATE"}]},
        {"name": "keys", "items": [{"key": "tls.key", "path": "KEY"}]},
    ]


@pytest.mark.parametrize(
    ("name", "requests", "limits"),
    [
        ("rlm", {"memory": "512Mi", "cpu": "500m"}, {"memory": "2Gi", "cpu": "2"}),
        ("rollout-server", {"memory": "4Gi", "cpu": "2"}, {"memory": "8Gi", "cpu": "4"}),
    ],
)
def test_less_is_asked_for_than_allowed(name: str, requests: dict[str, str], limits: dict[str, str]) -> None:
    assert container(name)["resources"] == {"requests": requests, "limits": limits}


@pytest.mark.parametrize(
    ("name", "how", "alive", "ready"),
    [
        ("rlm", {"exec": {"command": DOCTOR}}, (30, 60), (10, 30)),
        ("rollout-server", {"httpGet": {"path": "/health", "port": "main"}}, (10, 30), (5, 10)),
    ],
)
def test_probes_ask_the_check_when_and_as_often_as_was_said(
    name: str, how: dict[str, Any], alive: tuple[int, int], ready: tuple[int, int]
) -> None:
    for probe, (delay, period) in (("livenessProbe", alive), ("readinessProbe", ready)):
        asked = container(name)[probe]
        assert how.items() <= asked.items()
        assert (asked["initialDelaySeconds"], asked["periodSeconds"]) == (delay, period)


def test_liveness_may_ask_the_port_alone() -> None:
    alive = container("both")["livenessProbe"]

    assert (alive["tcpSocket"], alive["periodSeconds"], alive["failureThreshold"]) == ({"port": "main"}, 20, 6)


def test_a_claim_that_is_there_is_mounted_and_none_is_made_in_its_place() -> None:
    (volume,) = [each for each in spec("rlm")["volumes"] if "persistentVolumeClaim" in each]
    (mount,) = [each for each in container("rlm")["volumeMounts"] if each["name"] == volume["name"]]

    assert (volume["persistentVolumeClaim"], mount["mountPath"]) == ({"claimName": CLAIM}, "/app/logs")
    assert [each for objects in OBJECTS.values() for each in objects if each.kind == "PersistentVolumeClaim"] == []


def test_a_load_balancer_leads_to_the_stable_copies_and_others_find_them_as_before() -> None:
    outside, inside = the("Service", "rlm-public").body["spec"], the("Service", "rlm").body["spec"]

    assert (outside["type"], outside["loadBalancerSourceRanges"]) == ("LoadBalancer", ["0.0.0.0/0"])
    assert outside["selector"] == inside["selector"]
    (port,) = outside["ports"]
    assert (port["port"], port["targetPort"], container("rlm")["ports"][0]["containerPort"]) == (80, "main", 8080)
    assert (inside["type"], inside["ports"][0]["port"]) == ("ClusterIP", 8080)
    assert "LoadBalancer" not in FILES["overlays/canary/rlm.yaml"]


def test_a_pod_is_given_the_engine_of_its_node_in_a_namespace_that_allows_that() -> None:
    (volume,) = [each for each in spec("rlm")["volumes"] if "hostPath" in each]
    namespace = the("Namespace", DECLARED.name)

    assert volume["hostPath"] == {"path": SOCKET, "type": "Socket"}
    assert {"name": volume["name"], "mountPath": SOCKET} in container("rlm")["volumeMounts"]
    assert spec("rlm")["securityContext"]["supplementalGroups"] == [998]
    assert namespace.labels["pod-security.kubernetes.io/enforce"] == "privileged"
    assert "hostPath" not in FILES["stable/rollout-server.yaml"]


def test_an_image_by_its_tag_is_written_as_it_is() -> None:
    images = [container(name)["image"] for name in ("rlm", "rollout-server")]

    assert images == ["rlm-runtime:latest", "rollout-server:latest"]


def composed(declared: Project, folder: Path) -> dict[str, Any]:
    text = compose.files(declared, None, Path("/nowhere"))["compose.yaml"]
    return dict(config(text, folder)["services"])


def test_compose_reads_limits_reservations_health_and_the_socket(tmp_path: Path) -> None:
    services = composed(DECLARED, tmp_path)
    rlm, health = services["rlm"], services["rollout-server"]["healthcheck"]

    resources = rlm["deploy"]["resources"]
    assert (resources["limits"]["memory"], resources["reservations"]["memory"]) == (str(2 * 2**30), str(2**29))
    assert rlm["healthcheck"]["test"] == ["CMD", *DOCTOR]
    assert [health[key] for key in ("interval", "timeout", "start_period", "retries")] == ["30s", "10s", "5s", 3]
    assert (rlm["user"], rlm["group_add"]) == ("1000:1000", ["998"])
    assert {(each["type"], each["target"]) for each in rlm["volumes"]} == {("volume", "/app/logs"), ("bind", SOCKET)}


def test_compose_builds_the_projects_own_image_and_no_other(tmp_path: Path) -> None:
    services = {"rlm": {"command": ["rlm"]}, "redis": {"command": ["redis-server"], "image": "redis:7"}}
    made = composed(project(services, image="rlm-runtime:latest", build="."), tmp_path)

    assert (made["rlm"]["build"]["context"], made["rlm"]["image"]) == (str(tmp_path), "rlm-runtime:latest")
    assert "build" not in made["redis"]


def test_what_a_job_is_given_changes_its_name_and_what_says_nothing_new_does_not() -> None:
    """The API server does not let a Job's pods change."""

    def job(**more: Any) -> str:
        text = render_kubernetes(project({"migrate": {"command": ["m"], "batch": True, "secrets": ["URL"], **more}}))
        documents = yaml.safe_load_all(text["stable/migrate.yaml"])
        return str(next(each["metadata"]["name"] for each in documents if each["kind"] == "Job"))

    changes: list[dict[str, Any]] = [
        {},
        {"secret_keys": {"URL": "database/url"}},
        {"resources": {"requests": {"memory": "1GB"}}},
        {"docker": SOCKET, "docker_group": 998},
    ]
    assert len({job(**change) for change in changes}) == len(changes)
    assert job(secret_keys={"URL": "migrate-secrets/URL"}) == job()
