"""A container that somebody's policy puts into every pod, before the service's own, as a mesh does with its proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.declared import Declared
from tests.cluster.running import Cluster
from tests.faults.hooks import until

pytestmark = pytest.mark.slow

_GROUP = "admissionregistration.k8s.io/v1"


@dataclass
class Mesh:
    """What puts it there; of one namespace, once it is applied."""

    cluster: Cluster
    name: str
    image: str

    def put(self, command: str) -> None:
        """Have each pod that is made from now on have one with these words."""
        self.cluster.kubectl("apply", "-f", "-", text=json.dumps(self._objects(command)))

        def is_there() -> bool:
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}}
            pod["spec"] = {"containers": [{"name": "web", "image": self.image, "securityContext": _RESTRICTED}]}
            made = self.cluster.kubectl(
                *("create", "--namespace", self.name, "--dry-run=server", "-o", "json", "-f", "-"), text=json.dumps(pod)
            )
            first = json.loads(made)["spec"]["containers"][0]
            return bool(first["name"] == "proxy" and first["command"] == json.loads(command))

        until(is_there, "the server goes by it", 60)

    def remove(self) -> None:
        self.cluster.kubectl("delete", "-f", "-", "--ignore-not-found", text=json.dumps(self._objects("[]")))

    def _objects(self, command: str) -> dict[str, object]:
        secured = "Object.spec.containers.securityContext"
        proxy = (
            f'Object.spec.containers{{name: "proxy", image: "{self.image}", command: {command}, '
            f"securityContext: {secured}{{allowPrivilegeEscalation: false, runAsNonRoot: true, "
            f'capabilities: {secured}.capabilities{{drop: ["ALL"]}}, '
            f'seccompProfile: {secured}.seccompProfile{{type: "RuntimeDefault"}}}}}}'
        )
        meant = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
        put = {"patchType": "JSONPatch", "jsonPatch": {"expression": _FIRST.format(proxy=proxy)}}
        spec = {
            "matchConstraints": {"resourceRules": [meant]},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [put],
        }
        here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.name}}}
        named = {"name": self.name}
        bound = {"policyName": self.name, "matchResources": here}
        items = [
            {"apiVersion": _GROUP, "kind": "MutatingAdmissionPolicy", "metadata": named, "spec": spec},
            {"apiVersion": _GROUP, "kind": "MutatingAdmissionPolicyBinding", "metadata": named, "spec": bound},
        ]
        return {"apiVersion": "v1", "kind": "List", "items": items}


_FIRST = '[JSONPatch{{op: "add", path: "/spec/containers/0", value: {proxy}}}]'
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture
def mesh(small: Declared, cluster: Cluster, image: str) -> Iterator[Mesh]:
    made = Mesh(cluster, small.name, image)
    yield made
    made.remove()


def test_a_service_beside_it_is_proven_read_and_entered_as_if_it_were_alone(small: Declared, mesh: Mesh) -> None:
    mesh.put('["/web", "15001"]')

    small.ok("up")

    (pod,) = (each for each in small.names("pod") if each.startswith("web"))
    names = small.kubectl("get", "pod", pod, "-o", "jsonpath={.spec.containers[*].name}").split()
    assert names == ["proxy", "web"]
    assert small.versions() == {"one"}
    assert small.event("plan")["unchanged"]
    assert small.event("up")["outcome"] == "unchanged"
    assert small.event("status")["state"] == "serving"
    assert "begins, version one" in small.ok("logs")


def test_one_that_crashes_is_named_with_its_last_lines_and_put_back(small: Declared, mesh: Mesh) -> None:
    small.ok("up")
    mesh.put('["/web", "not-a-port"]')
    small.write("two")

    done = small.run("up")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "container proxy: " in done.stderr
    assert "not-a-port" in "".join(line for line in done.stderr.splitlines() if line.startswith("  | ")), done.stderr
