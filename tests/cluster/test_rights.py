"""An account that may not list a kind of object: it is told so before anything changes, or does without."""

from __future__ import annotations

import json

import pytest

from tests.cluster.declared import Declared
from tests.faults.hooks import until

pytestmark = pytest.mark.slow

# What the account may not list; the exit status of `up` then, and of `status`.
FORBIDDEN = {
    "pods": (4, 4),
    "replicasets": (4, 4),
    "deployments": (4, 4),
    "jobs": (4, 4),
    "secrets": (0, 0),
    "configmaps": (0, 0),
    "httproutes": (0, 0),
}


def _may_list(small: Declared, resource: str, *, may: bool) -> None:
    """Have the account's Role say so."""
    role = json.loads(small.kubectl("get", "role", f"deploy-{small.name}", "-o", "json"))
    (rule,) = (each for each in role["rules"] if each["resources"] == [resource])
    rule["verbs"] = [*(verb for verb in rule["verbs"] if verb != "list"), *(["list"] if may else [])]
    small.kubectl("replace", "-f", "-", text=json.dumps(role))
    what = {"namespace": small.name, "verb": "list", "group": rule["apiGroups"][0], "resource": resource}
    spec = {"user": f"system:serviceaccount:{small.name}:deploy-{small.name}", "resourceAttributes": what}
    asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}

    def known() -> bool:
        said = small.cluster.kubectl("create", "-f", "-", "-o", "json", text=json.dumps(asked))
        return bool(json.loads(said)["status"]["allowed"]) is may

    until(known, "the server knows it")


def test_it_is_said_with_what_the_account_needs_and_no_release_is_left_half_way(small: Declared) -> None:
    small.ok("up")
    serves = "one"
    for resource, (of_up, of_status) in FORBIDDEN.items():
        _may_list(small, resource, may=False)
        small.write(f"without-{resource}")

        up, status, logs = small.run("up"), small.run("status"), small.run("logs")

        assert (up.returncode, status.returncode) == (of_up, of_status), (resource, up.stderr, status.stderr)
        for done in (up, status, logs):
            assert "Traceback" not in done.stderr
            if done.returncode:
                assert done.returncode == 4, (resource, done.stderr)
                assert f"listing {resource}".lower() in done.stderr.lower(), resource
                assert "the account may not" in done.stderr
                assert "next: deploy render kubernetes --rbac" in done.stderr
        _may_list(small, resource, may=True)
        serves = serves if of_up else f"without-{resource}"
        assert small.versions() == {serves}
        assert small.event("status")["state"] == "serving"
    history = [json.loads(line) for line in small.ok("history", "--json").splitlines()]
    assert [entry["outcome"] for entry in history if entry["event"] == "history"] == ["committed"] * 4
