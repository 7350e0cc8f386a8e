"""What a strict schema lets through, and a cluster does not: each refused with its file and object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.errors import UnencodableValue, UsageError
from provision.manifests.kubernetes import render_kubernetes
from provision.manifests.kubernetes.faults import check, faults
from provision.manifests.kubernetes.objects import Object
from tests.manifests.kubernetes.projects import CRES, IMAGE, project

FILES = render_kubernetes(CRES)


def broken(kind: str, change: Callable[[dict[str, Any]], object]) -> list[str]:
    """What is said of the stable fastapi once `change` was made to its object of that kind."""
    objects = [Object("fastapi.yaml", each) for each in yaml.safe_load_all(FILES["stable/fastapi.yaml"])]
    (wanted,) = [each for each in objects if each.kind == kind]
    change(wanted.body)
    return faults(objects)


def pod(body: dict[str, Any]) -> dict[str, Any]:
    return body["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def container(body: dict[str, Any]) -> dict[str, Any]:
    return pod(body)["containers"][0]  # type: ignore[no-any-return]


# kind, what is broken, what is said
CASES: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("HorizontalPodAutoscaler", lambda b: b["spec"].update(minReplicas=30), "minReplicas is 30, and maxReplicas 20"),
    ("HorizontalPodAutoscaler", lambda b: b.update(apiVersion="autoscaling/v2beta2"), "autoscaling/v2 is"),
    ("HorizontalPodAutoscaler", lambda b: b["spec"]["scaleTargetRef"].update(name="x"), "there is no Deployment x"),
    ("PodDisruptionBudget", lambda b: b["spec"].update(minAvailable=1), "exclude each other"),
    ("PodDisruptionBudget", lambda b: b.update(apiVersion="policy/v1beta1"), "policy/v1beta1 is not served"),
    ("PodDisruptionBudget", lambda b: b["spec"]["selector"].update(matchLabels={"a": "b"}), "matches no pod"),
    ("Deployment", lambda b: b["spec"]["selector"].update(matchLabels={"a": "b"}), "does not match its own pods"),
    ("Deployment", lambda b: b["metadata"].update(name="Fast_API"), '"Fast_API" is no name'),
    ("Deployment", lambda b: container(b).update(name="a" * 64), "its name is none"),
    ("Deployment", lambda b: container(b)["ports"][0].update(name="much-too-long-a-name"), "is no name of a port"),
    ("Deployment", lambda b: container(b)["ports"][0].update(name="80"), '"80" is no name of a port'),
    ("Deployment", lambda b: container(b)["ports"][0].update(containerPort=70000), "70000 is no port"),
    ("Deployment", lambda b: container(b)["ports"][0].update(name="other"), 'asks for the port "main"'),
    ("Deployment", lambda b: container(b)["ports"][0].update(hostPort=80), "forbids hostPort"),
    ("Deployment", lambda b: container(b)["resources"]["requests"].update(memory="5Gi"), "more memory (5Gi)"),
    ("Deployment", lambda b: container(b)["resources"]["requests"].update(cpu="2001m"), "more cpu (2001m)"),
    (
        "Deployment",
        lambda b: (
            container(b)["resources"]["limits"].update({"nvidia.com/gpu": 1})
            or container(b)["resources"]["requests"].update({"nvidia.com/gpu": 0})
        ),
        "asked for and allowed alike",
    ),
    ("Deployment", lambda b: container(b)["env"].append(container(b)["env"][0]), "is there 2 times"),
    ("Deployment", lambda b: container(b)["volumeMounts"].append({"name": "x", "mountPath": "/x"}), 'no volume "x"'),
    ("Deployment", lambda b: container(b)["startupProbe"].update(successThreshold=2), "has to pass once"),
    ("Deployment", lambda b: pod(b).update(terminationGracePeriodSeconds=5), "sleeps longer"),
    ("Deployment", lambda b: pod(b).update(restartPolicy="Never"), "cannot have restartPolicy: Never"),
    (
        "Deployment",
        lambda b: b.update(kind="Job", apiVersion="batch/v1", spec={"template": b["spec"]["template"]}),
        "cannot have restartPolicy: Always",
    ),
    (
        "Deployment",
        lambda b: b["spec"].update(replica=1),
        'spec.replica: there is no such field. Did you mean "replicas"',
    ),
    ("Deployment", lambda b: b["spec"].update(replicas="two"), 'spec.replicas: "two" is no whole number'),
    ("Deployment", lambda b: container(b).update(image=["a"]), "containers[0].image: ['a'] is no text"),
    ("Deployment", lambda b: pod(b).update(containers={}), "spec.template.spec.containers: {} is no list"),
    ("Deployment", lambda b: pod(b).update(enableServiceLinks="no"), '"no" is neither true nor false'),
    ("Deployment", lambda b: b["metadata"].update(labels="a"), 'metadata.labels: "a" is no mapping'),
    ("NetworkPolicy", lambda b: b["spec"].update(ingres=[]), 'Did you mean "ingress"?'),
    ("Service", lambda b: b["spec"]["ports"][0].update(port=1.5), "spec.ports[0].port: 1.5 is no whole number"),
    ("Deployment", lambda b: pod(b).update(hostNetwork=True), "forbids hostNetwork"),
    ("Deployment", lambda b: pod(b)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "a hostPath volume"),
    ("Deployment", lambda b: pod(b)["securityContext"].update(runAsUser=0), "another account than 0"),
    ("Deployment", lambda b: pod(b)["securityContext"].pop("runAsNonRoot"), "demands runAsNonRoot"),
    ("Deployment", lambda b: pod(b)["securityContext"].pop("seccompProfile"), "demands seccompProfile"),
    ("Deployment", lambda b: pod(b)["securityContext"].update(sysctls=[{"name": "vm.x"}]), "the sysctl vm.x"),
    ("Deployment", lambda b: container(b)["securityContext"].pop("capabilities"), "all capabilities are dropped"),
    ("Deployment", lambda b: container(b)["securityContext"].update(privileged=True), "forbids privileged"),
    ("Deployment", lambda b: container(b)["securityContext"].pop("allowPrivilegeEscalation"), "Escalation: false"),
    ("Service", lambda b: b["metadata"].update(name="9lives"), '"9lives" is no name'),
    ("Service", lambda b: b["spec"]["ports"][0].update(targetPort="x"), 'no port "x"'),
    ("Service", lambda b: b["spec"].update(selector={"app.kubernetes.io/name": "web"}), "matches no pod"),
    ("ConfigMap", lambda b: b["metadata"].update(name="other"), "there is no ConfigMap fastapi-"),
    ("ConfigMap", lambda b: b["data"].update(BIG="x" * 1024 * 1024), "a ConfigMap holds 1048576"),
]


@pytest.mark.parametrize(("kind", "change", "said"), CASES)
def test_a_fault_is_named_with_its_file_and_object(
    kind: str, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    found = broken(kind, change)

    assert any(said in message for message in found), found
    assert all(message.startswith("fastapi.yaml: ") for message in found)


def test_what_we_render_has_none() -> None:
    assert broken("Service", lambda body: body) == []


def test_a_number_may_be_a_quantity_or_a_port() -> None:
    def change(body: dict[str, Any]) -> None:
        container(body)["livenessProbe"] = {"tcpSocket": {"port": 8000}}
        pod(body)["volumes"].append({"name": "x", "emptyDir": {"sizeLimit": 1024}})

    assert broken("Deployment", change) == []


def test_of_a_kind_that_others_have_defined_nobody_knows_the_fields() -> None:
    made = {"apiVersion": "x.y/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"any": 1}}
    assert [each for each in faults([Object("f", made)]) if "field" in each] == []


def test_a_selector_that_takes_pods_of_another_channel_is_a_fault() -> None:
    objects = [
        Object(name, each)
        for name, text in FILES.items()
        if name.endswith("/llama.yaml")
        for each in yaml.safe_load_all(text)
    ]
    for each in objects:
        if each.kind == "Service":
            each.body["spec"]["selector"].pop("channel")

    assert any("its selector takes pods of llama and llama-canary" in message for message in faults(objects))


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "while parsing"), ("a: 1\na: 2\n", '"a" is given twice'), ("- a\n", "a document is no object")],
)
def test_a_file_that_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="nothing was written") as refused:
        check({"stable/web.yaml": text})

    assert "stable/web.yaml: " in str(refused.value)
    assert said in str(refused.value)


def test_a_template_of_the_project_s_own_is_judged_too(tmp_path: Path) -> None:
    (tmp_path / "kubernetes").mkdir()
    (tmp_path / "kubernetes" / "service-account.yaml.j2").write_text("apiVersion: v1\nkind: Pirate\n")

    with pytest.raises(UsageError, match=r"base/project.yaml: Pirate"):
        render_kubernetes(CRES, overrides=tmp_path)


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"command": ["a", "--host", "127.0.0.1"], "port": 80}, 'services.web.command: "127.0.0.1" is reached from'),
        ({"command": ["a", "--bind=localhost:${port}"], "port": 80}, "write ${listen}"),
        ({"command": ["a"], "env": {"U": "http://127.0.0.1:${services.db.port}"}}, "services.web.env.U: 127.0.0.1 is"),
        ({"command": ["a", "http://localhost:${services.db.port}/"]}, "write ${services.db.host}"),
        (
            {"preset": "rlm-runtime", "command": ["a"], "env": {"RLM_ENVIRONMENT": "docker"}},
            'services.web.env.RLM_ENVIRONMENT: "docker" needs a Docker daemon, which a restricted pod does not reach',
        ),
        (
            {"command": ["a"], "docker": "/run/docker.sock"},
            "services.web.docker: a restricted pod reaches no Docker daemon. To give it that engine",
        ),
    ],
)
def test_what_would_start_and_never_work_is_refused(service: Mapping[str, Any], said: str) -> None:
    with pytest.raises(UnencodableValue) as refused:
        render_kubernetes(project({"web": service, "db": {"command": ["db"], "port": 5432}}))

    assert said in str(refused.value)


def test_a_service_may_talk_to_itself() -> None:
    own = {"command": ["a", "--url", "http://127.0.0.1:${port}/"], "env": {"SELF": "localhost:${port}"}, "port": 80}

    assert "http://127.0.0.1:80/" in render_kubernetes(project({"web": own}))["stable/web.yaml"]


def test_a_service_can_have_an_image_of_its_own() -> None:
    own = IMAGE.replace("cres", "web")
    files = render_kubernetes(project({"web": {"command": ["a"], "image": own}, "api": {"command": ["b"]}}))

    assert own in files["stable/web.yaml"]
    assert IMAGE in files["stable/api.yaml"]


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        ({"http": "/x"}, "httpGet"),
        ({"http": "/x", "status": [200, 302]}, "httpGet"),
        ({"http": "/x", "status": [404]}, "tcpSocket"),
        ({"http": "http://example.net/"}, "tcpSocket"),
        ({"tcp": "${port}"}, "tcpSocket"),
        ({"completion": "Paris"}, "tcpSocket"),
        ({"command": ["x"]}, "exec"),
    ],
)
def test_a_check_becomes_a_probe_that_asks_the_same_or_the_port(check: Mapping[str, Any], kind: str) -> None:
    text = render_kubernetes(project({"web": {"command": ["a"], "port": 80, "check": check}}))["stable/web.yaml"]
    (deployment,) = [each for each in yaml.safe_load_all(text) if each["kind"] == "Deployment"]

    assert kind in container(deployment)["readinessProbe"]


def test_services_whose_names_collide_with_a_canary_are_refused() -> None:
    with pytest.raises(UsageError, match="there are 2 of this kind and name"):
        render_kubernetes(project({"web": {"command": ["a"]}, "web-canary": {"command": ["b"]}}))


def test_a_name_that_a_cluster_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match='"web-" is no name'):
        render_kubernetes(project({"web-": {"command": ["a"], "port": 80}}))
