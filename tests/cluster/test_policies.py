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
    text = _policy(small, "Deny")
    yield text
    cluster.kubectl("delete", "-f", "-", "--ignore-not-found", text=text)


def _policy(small: Declared, action: str) -> str:
    group = "admissionregistration.k8s.io/v1"
    named = {"name": small.name}
    meant = {"apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments"]}
    rule = {**meant, "operations": ["CREATE", "UPDATE"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "has(object.metadata.labels.team)", "message": _SAYS}],
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": small.name}}}
    bound = {"policyName": small.name, "validationActions": [action], "matchResources": here}
    objects = [
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": named, "spec": spec},
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": named, "spec": bound},
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


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


def test_what_a_policy_only_warns_of_is_said_and_deployed(small: Declared, cluster: Cluster, policy: str) -> None:
    cluster.kubectl("apply", "-f", "-", text=_policy(small, "Warn"))
    until(lambda: _SAYS in small.run("plan").stdout, "the server goes by it", 60)

    assert "in doubt: Deployment web: the cluster warns: Validation failed for" in small.ok("plan")
    done = small.run("up")

    assert done.returncode == 0, done.stderr
    assert _SAYS in done.stderr
    assert small.versions() == {"one"}
    assert _SAYS not in small.ok("plan"), "nothing changes"


def test_a_pod_that_the_profile_of_its_namespace_forbids_is_said_by_the_plan_and_put_back(small: Declared) -> None:
    """A Docker Engine is the node's own; what is rendered makes a namespace that allows it, and this one does not."""
    small.ok("up")
    small.write("two", more='docker = "/run/docker.sock"\ndocker_group = 998\n')

    planned, failed = small.run("plan"), small.run("up")

    said = 'violate PodSecurity "restricted:latest": restricted volume types'
    assert f"in doubt: Deployment web: the cluster warns: would {said}" in planned.stdout
    assert failed.returncode == 1, failed.stderr
    assert "no pod can be made: " in failed.stderr
    assert said.replace("violate", "violates") in failed.stderr
    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"
