"""Quotas and nodes without room, asked of a real cluster: before anything changes where it is sure, else put back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from provision.manifests.kubernetes.rbac import render_rbac
from tests.cluster.declared import Declared
from tests.cluster.faulty import At, Before, FaultyApi, passed
from tests.faults.hooks import until

pytestmark = pytest.mark.slow

_OTHER = '[services.{0}]\ncommand = ["/web", "${{port}}"]\nport = {1}\ndrain = "0s"\nstop_timeout = "1s"\n'
_BIG = '[services.big]\ncommand = ["/web"]\nresources = { memory = "900GiB" }\n'
_NEVER = '[checks.never]\nhttp = "http://web:8000/"\nbody = "never"\ntimeout = "2s"\n'


def _allow(small: Declared, hard: str, used: str) -> None:
    small.kubectl("create", "quota", "small", f"--hard={hard}")
    until(lambda: used in small.kubectl("get", "quota"), "it is counted")


def test_a_quota_that_has_no_room_is_said_by_the_plan_and_refuses_an_up_before_anything_changes(
    small: Declared,
) -> None:
    small.ok("up")
    _allow(small, "pods=2", "pods: 1/2")
    small.write("two", replicas=3)

    planned, refused = small.run("plan"), small.run("up")

    said = "ResourceQuota small: pods: it allows 2, and 3 would be taken"
    assert planned.returncode == refused.returncode == 4
    assert f"up would be refused: {said}" in planned.stdout
    assert said in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert small.versions() == {"one"}
    small.write("two", replicas=2)
    assert "while a new pod of Deployment web comes before an old one goes" in small.run("plan").stdout
    small.write("two")
    small.ok("up")
    small.write("three")
    small.ok("up")  # while the last pod is counted yet
    assert small.versions() == {"three"}


def test_a_quota_that_comes_meanwhile_is_told_and_put_back(small: Declared, faulty: FaultyApi) -> None:
    faulty.reach(small.kubeconfig)
    small.ok("up")
    small.write("two", replicas=3)
    faulty.plan = At(
        lambda request: request.writes and "/deployments/" in request.path,
        Before(lambda: _allow(small, "pods=2", "pods: 1/2")),
    )

    done = small.run("up")

    faulty.plan = passed
    assert done.returncode == 1, done.stderr
    assert "exceeded quota" in done.stderr
    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"


def test_a_quota_that_is_hit_half_way_leaves_nothing_of_the_new_release(small: Declared, faulty: FaultyApi) -> None:
    """Each of the new Services would fit, and both do not: it came between the plan and them."""
    faulty.reach(small.kubeconfig)
    small.ok("up")
    small.write("two", more=_OTHER.format("first", 8001) + _OTHER.format("second", 8002))
    faulty.plan = At(
        lambda request: request.writes and "/services/" in request.path,
        Before(lambda: _allow(small, "services=2", "services: 1/2")),
    )

    done = small.run("up")

    faulty.plan = passed
    assert done.returncode == 1, done.stdout + done.stderr
    assert "exceeded quota" in done.stderr
    assert small.names("service") == {"web"}
    assert small.names("deployment.apps") == {"web"}
    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"
    refused = small.run("up")
    assert refused.returncode == 4
    assert "services: it allows 2, and 3 would be taken" in refused.stderr
    small.write("three", more=_OTHER.format("first", 8001))
    small.ok("up")
    assert small.versions() == {"three"}
    assert small.names("service") == {"web", "first"}


def test_what_is_put_back_needs_no_room_that_a_quota_has_not(small: Declared) -> None:
    """One to spare is what a release takes while it comes; the one before it takes it again."""
    small.ok("up")
    _allow(small, "pods=2", "pods: 1/2")
    small.write("two", more=_NEVER)

    failed = small.run("up")

    assert failed.returncode == 1, failed.stderr
    assert "serves, proven again" in failed.stderr
    small.write("three")
    small.ok("up")
    small.ok("rollback")
    assert small.versions() == {"one"}


def test_where_neither_release_can_be_proven_it_is_degraded_until_its_cause_is_gone(
    small: Declared, faulty: FaultyApi
) -> None:
    """The one pod that a quota allows is the new release's when it comes; the old one's can't come back beside it."""
    faulty.reach(small.kubeconfig)
    small.ok("up")
    small.write("two", more=_NEVER)

    def full() -> None:
        until(lambda: len(small.names("pod")) == 1, "the old pod to end", 30)
        _allow(small, "pods=1", "pods: 1/1")

    faulty.plan = At(lambda request: "/portforward" in request.path, Before(full))

    done = small.run("up")

    faulty.plan = passed
    assert done.returncode == 5, done.stderr
    assert "failed, and what was before could not be proven either." in done.stderr
    assert "the body does not match 'never'" in done.stderr
    assert "putting back: Deployment web: no pod can be made: " in done.stderr
    status = small.run("status")
    assert status.returncode == 5
    assert "DEGRADED: neither release could be proven" in status.stdout
    assert "exceeded quota" in status.stdout
    small.kubectl("delete", "quota", "small")
    small.write("three")
    small.ok("up")
    assert small.versions() == {"three"}
    assert small.event("status")["state"] == "serving"


@pytest.fixture
def sees_nodes(small: Declared) -> Iterator[None]:
    wide = render_rbac(small.name, small.name)["cluster-role.yaml"]
    small.cluster.kubectl("apply", "-f", "-", text=wide)
    yield
    small.cluster.kubectl("delete", "-f", "-", text=wide)


def test_a_pod_that_no_node_could_have_is_said_by_the_plan(small: Declared, sees_nodes: None) -> None:
    small.write(more=_BIG)

    planned = small.run("plan")

    assert planned.returncode == 0, "an autoscaler may bring such a node"
    assert "in doubt: Deployment big: a pod asks for 900Gi memory, and no node has more than" in planned.stdout
    small.write()
    assert "in doubt" not in small.ok("plan")


def test_who_may_not_see_nodes_and_quotas_is_told_that_nobody_has_looked(small: Declared) -> None:
    assert "nobody has looked for room on nodes: the account may not list nodes" in small.ok("plan")
    role = json.loads(small.kubectl("get", "role", f"deploy-{small.name}", "-o", "json"))
    role["rules"] = [each for each in role["rules"] if each["resources"] != ["resourcequotas"]]
    small.kubectl("replace", "-f", "-", text=json.dumps(role))  # as it was in earlier versions
    until(lambda: "nobody has looked at quotas" in small.ok("plan"), "the server knows it")
    small.ok("up")
    assert small.versions() == {"one"}
