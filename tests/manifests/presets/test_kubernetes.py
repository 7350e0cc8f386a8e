"""What the clusters of all presets would do: whom selectors take, who reaches whom, how many copies may go.

Every overlay is built by kustomize itself; then production and canary lie in one namespace, and staging in another.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.presets.renders import reviewed

KUBECTL = Path(sys.executable).with_name("kubectl")
Node = dict[str, Any]

# Who may talk to whom, in each channel of a project; ports are the callee's.
LINKS = {
    "llama": set(),
    "stack": {
        ("fastapi", "llama", 8081),
        ("fastapi", "redis", 6379),
        ("worker-cpu", "redis", 6379),
        ("worker-gpu", "redis", 6379),
    },
    "rlm": set(),
    "rlm-docker": set(),
    "rollout-server": set(),
    "visits": {("counter", "redis", 6379)},
    "jobs": {("worker", "redis", 6379)},
    "orders": {("workflows", "temporal", 7233)},
    "pictures": {("gallery", "s3", 8333)},
    "shop": set(),
    "vllm": set(),
    "sglang": set(),
}
ADDRESSES = ("10.20.1.1", "10.30.1.1", "192.0.2.1", "2001:db8::1", "169.254.169.254", "fd00:ec2::254")
# From and to addresses outside: what is declared as expose and outbound.
OUTSIDE_IN = {
    "llama": {("10.20.1.1", "llama", 8081)},
    "rollout-server": {("10.20.1.1", "rollout", 9000)},
    "vllm": {("10.20.1.1", "llm", 8000)},
    "sglang": {("10.20.1.1", "llm", 30000)},
    "shop": {(address, "api", 8000) for address in ADDRESSES},
}
OUTSIDE_OUT = {
    "rlm": (EVERYWHERE := {("rlm", address, 443) for address in ("10.20.1.1", "10.30.1.1", "192.0.2.1")}),
    "rlm-docker": EVERYWHERE,
    "rollout-server": {("rollout", "10.20.1.1", port) for port in (8080, 8081, 8130)},
    "shop": {("api", "10.30.1.1", 5432)},
    "vllm": (MODELS := {("llm", address, 443) for address in ("10.20.1.1", "10.30.1.1", "192.0.2.1")}),
    "sglang": MODELS,
}
PORTS = (443, 5432, 6379, 7233, 8000, 8080, 8081, 8130, 8131, 8333, 9000, 9500, 30000)


@dataclass(frozen=True)
class Pod:
    """One that a Deployment makes."""

    name: str
    labels: dict[str, str] = field(hash=False)
    port: int | None

    @property
    def lane(self) -> str:
        return self.labels["channel"]

    @property
    def service(self) -> str:
        return self.labels["app.kubernetes.io/name"]


@dataclass(frozen=True)
class Namespace:
    """What a namespace holds once everything is applied to it."""

    name: str
    objects: list[Node]

    def of(self, *kinds: str) -> list[Node]:
        return [each for each in self.objects if each["kind"] in kinds]

    @property
    def pods(self) -> list[Pod]:
        found = []
        for each in self.of("Deployment", "Job"):
            pod = each["spec"]["template"]
            ports = [port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", ())]
            found.append(Pod(each["metadata"]["name"], pod["metadata"]["labels"], ports[0] if ports else None))
        return found

    def selected(self, selector: Node) -> list[Pod]:
        assert set(selector) <= {"matchLabels"}
        return [pod for pod in self.pods if selector.get("matchLabels", {}).items() <= pod.labels.items()]

    def reaches(self, source: Pod | str, target: Pod | str, port: int) -> bool:
        """Whether the policies let a connection pass; an address is outside of the cluster."""
        leaves = isinstance(source, str) or self._passes(source, "egress", target, port)
        return leaves and (isinstance(target, str) or self._passes(target, "ingress", source, port))

    def _passes(self, pod: Pod, direction: str, other: Pod | str, port: int) -> bool:
        """Rules of all policies that select a pod add up; one that no policy selects may do everything."""
        policies = [
            each["spec"] for each in self.of("NetworkPolicy") if pod in self.selected(each["spec"]["podSelector"])
        ]
        assert all(set(policy["policyTypes"]) == {"Ingress", "Egress"} for policy in policies)
        rules = [rule for policy in policies for rule in policy.get(direction) or ()]
        peer, named = ("to", None) if direction == "egress" else ("from", pod.port)
        return not policies or any(
            any(self._is(other, each) for each in rule[peer])
            and any(_holds(each, port, named) for each in rule["ports"])
            for rule in rules
        )

    def _is(self, other: Pod | str, peer: Node) -> bool:
        if "namespaceSelector" in peer:  # the cluster's own, where none of ours is
            return False
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            return isinstance(other, str) and _within(other, [block["cidr"]]) > _within(other, block.get("except", ()))
        return isinstance(other, Pod) and other in self.selected(peer["podSelector"])


def _within(address: str, networks: Iterable[str]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(each) for each in networks)


def _holds(rule: Node, port: int, named: int | None) -> bool:
    if rule.get("protocol") != "TCP" or (rule["port"] == "main" and named is None):
        return False
    first = named if rule["port"] == "main" else rule["port"]
    return bool(first <= port <= rule.get("endPort", first))


@pytest.fixture(scope="module")
def namespaces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Namespace]:
    folder = tmp_path_factory.mktemp("overlays")
    for project, files in reviewed("kubernetes").items():
        for name, text in files.items():
            (folder / project / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / project / name).write_text(text)
    overlays = sorted(str(path.relative_to(folder)) for path in folder.glob("*/overlays/*"))
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": overlays}))
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True)
    found: dict[str, list[Node]] = defaultdict(list)
    for each in yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if each["kind"] != "Namespace":
            found[each["metadata"]["namespace"]].append(each)
    return {name: Namespace(name, objects) for name, objects in found.items()}


def selectors(node: Any) -> Iterator[Node]:
    """Everything in an object that looks for pods by labels."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("podSelector", "labelSelector", "selector") and "namespaceSelector" not in node:
                yield value if "matchLabels" in value else {"matchLabels": value}
            else:
                yield from selectors(value)
    elif isinstance(node, list):
        for each in node:
            yield from selectors(each)


def test_each_project_has_its_namespaces(namespaces: dict[str, Namespace]) -> None:
    assert set(namespaces) == {*LINKS, *(f"{project}-staging" for project in LINKS)}
    for name, namespace in namespaces.items():
        lanes = {"stable"} if name.endswith("-staging") else {"stable", "canary"}
        assert {pod.lane for pod in namespace.pods} == lanes


def test_no_selector_takes_pods_of_another_channel_or_service(namespaces: dict[str, Namespace]) -> None:
    """But for the one that denies everything to everybody."""
    looked = 0
    for namespace in namespaces.values():
        for each in namespace.objects:
            if each["metadata"]["name"] == "default-deny":
                assert namespace.selected(each["spec"]["podSelector"]) == namespace.pods
                continue
            for selector in selectors(each.get("spec", {})):
                found = namespace.selected(selector)
                assert [pod.lane for pod in found] == [each["metadata"]["labels"]["channel"]], each
                looked += 1
    assert looked > 100


def test_services_reach_those_that_they_name_or_wait_for_and_nobody_else(namespaces: dict[str, Namespace]) -> None:
    for name, namespace in namespaces.items():
        pods = namespace.pods
        reached = {
            (source, target, port)
            for source in pods
            for target in pods
            for port in PORTS
            if source != target and namespace.reaches(source, target, port)
        }
        assert {(source.service, target.service, port) for source, target, port in reached} == LINKS[
            name.removesuffix("-staging")
        ]
        assert all(source.lane == target.lane for source, target, _ in reached)


def test_the_outside_reaches_what_is_exposed_and_is_reached_where_that_is_declared(
    namespaces: dict[str, Namespace],
) -> None:
    for name, namespace in namespaces.items():
        project = name.removesuffix("-staging")
        every = [(pod, address, port) for pod in namespace.pods for address in ADDRESSES for port in PORTS]
        inside = {(address, pod.service, port) for pod, address, port in every if namespace.reaches(address, pod, port)}
        outside = {
            (pod.service, address, port) for pod, address, port in every if namespace.reaches(pod, address, port)
        }
        assert inside == OUTSIDE_IN.get(project, set())
        assert outside == OUTSIDE_OUT.get(project, set())


def test_names_are_asked_for_by_those_alone_that_talk_to_somebody(namespaces: dict[str, Namespace]) -> None:
    for name, namespace in namespaces.items():
        project = name.removesuffix("-staging")
        talkers = {source for source, *_ in (*LINKS[project], *OUTSIDE_OUT.get(project, ()))}
        asking = {
            each["metadata"]["labels"]["app.kubernetes.io/name"]
            for each in namespace.of("NetworkPolicy")
            if any("namespaceSelector" in peer for rule in each["spec"].get("egress") or () for peer in rule["to"])
        }
        assert asking == talkers


def test_a_copy_may_always_go_and_one_always_stays(namespaces: dict[str, Namespace]) -> None:
    """Budgets against the fewest copies: the autoscaler's minimum, or the Deployment's number."""
    for name, namespace in namespaces.items():
        least = {each["metadata"]["name"]: each["spec"].get("replicas") for each in namespace.of("Deployment")}
        for each in namespace.of("HorizontalPodAutoscaler"):
            spec = each["spec"]
            assert least[spec["scaleTargetRef"]["name"]] is None, "two would count the copies"
            assert 1 <= spec["minReplicas"] <= spec["maxReplicas"]
            least[spec["scaleTargetRef"]["name"]] = spec["minReplicas"]
        budgets = {each["metadata"]["name"]: each["spec"] for each in namespace.of("PodDisruptionBudget")}
        for budget, spec in budgets.items():
            assert (spec["maxUnavailable"], "minAvailable" in spec) == (1, False)
            assert name.endswith("-staging") or least[budget] - spec["maxUnavailable"] >= 1
        assert set(budgets) >= {deployment for deployment, copies in least.items() if copies > 1}


def test_rlm_runtime_scales_from_3_to_20_by_processor_and_memory(namespaces: dict[str, Namespace]) -> None:
    (scaler,) = namespaces["rlm"].of("HorizontalPodAutoscaler")
    targets = {each["resource"]["name"]: each["resource"]["target"] for each in scaler["spec"]["metrics"]}

    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (3, 20)
    assert targets == {
        "cpu": {"type": "Utilization", "averageUtilization": 70},
        "memory": {"type": "Utilization", "averageUtilization": 80},
    }


def test_a_volume_of_several_copies_can_be_written_by_several(namespaces: dict[str, Namespace]) -> None:
    """And one that only one pod may have is given up before the next pod wants it."""
    for namespace in namespaces.values():
        modes = {
            each["metadata"]["name"]: each["spec"]["accessModes"] for each in namespace.of("PersistentVolumeClaim")
        }
        scaled = {each["metadata"]["name"] for each in namespace.of("HorizontalPodAutoscaler")}
        for each in namespace.of("Deployment"):
            spec = each["spec"]
            volumes = spec["template"]["spec"]["volumes"]
            claims = [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]
            several = spec.get("replicas", 0) > 1 or each["metadata"]["name"] in scaled
            for claim in claims:
                expected = "ReadWriteMany" if several or spec["strategy"]["type"] != "Recreate" else "ReadWriteOnce"
                assert modes.pop(claim) == [expected]
        assert modes == {}
