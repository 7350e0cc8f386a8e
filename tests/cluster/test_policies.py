"""An administrator's policy that is newer than what runs, and would not take it any more."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.declared import Declared
from tests.cluster.running import Cluster
from tests.faults.hooks import until

pytestmark = pytest.mark.slow

_SAYS = "every Deployment names its team"
_NEVER = '[checks.never]\nhttp = "http://web:8000/"\nbody = "never"\ntimeout = "2s"\n'


@pytest.fixture
def policy(small: Declared, cluster: Cluster) -> Iterator[str]:
    """Of the namespace of `small`; to be applied."""
    group = "admissionregistration.k8s.io/v1"
    named = {"name": small.name}
    meant = {"apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments"]}
    rule = {**meant, "operations": ["CREATE", "UPDATE"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "has(object.metadata.labels.team)", "message": _SAYS}],
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": small.name}}}
    bound = {"policyName": small.name, "validationActions": ["Deny"], "matchResources": here}
    objects = [
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": named, "spec": spec},
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": named, "spec": bound},
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    yield text
    cluster.kubectl("delete", "-f", "-", "--ignore-not-found", text=text)


def test_what_stands_is_left_alone_and_what_changes_is_refused_before_anything_does(
    small: Declared, cluster: Cluster, policy: str
) -> None:
    small.ok("up")
    cluster.kubectl("apply", "-f", "-", text=policy)
    small.write("two")
    until(lambda: small.run("plan").returncode == 4, "the server goes by it", 60)

    assert _SAYS in small.run("plan").stdout
    refused = small.run("up")
    small.write("one", more='expose = ["10.0.0.0/8"]\n')
    others = small.run("up", "--json")

    assert refused.returncode == 4
    assert _SAYS in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert others.returncode == 0, others.stdout
    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"
    assert small.event("plan")["unchanged"]
    small.write("one", more='expose = ["10.0.0.0/16"]\n' + _NEVER)
    failed = small.run("up")
    assert failed.returncode == 1, failed.stderr
    assert small.event("status")["state"] == "serving", "what did not change stands in no way of what is put back"
