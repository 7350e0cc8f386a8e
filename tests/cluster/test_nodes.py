"""A node that dies for good, where another one can have its pods.

The cluster is one of its own, which misses a node after half a minute and gives its pods away 5 seconds later; by
default both take minutes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import with_a_node
from tests.cluster.declared import Declared
from tests.cluster.faulty import At, Before, FaultyApi, passed
from tests.cluster.given import with_its_own
from tests.cluster.node import Node
from tests.cluster.parts import program
from tests.cluster.running import Cluster
from tests.faults.hooks import until
from tests.testbed.slots import Slot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), with_its_own]
_NUMBERS = itertools.count(2)
_IMAGE = "localhost/web:1"


@pytest.fixture(scope="module")
def cluster(slot: Slot) -> Iterator[Cluster]:
    gone = {f"default-{which}-toleration-seconds": "5" for which in ("not-ready", "unreachable")}
    missed = {"node-monitor-grace-period": "30s"}
    with with_a_node(slot, controller_options=missed, api_options=gone) as made:
        yield made


@pytest.fixture(scope="module")
def image(cluster: Cluster) -> str:
    assert cluster.node
    return cluster.node.load(_IMAGE, program("pods"))


@pytest.fixture
def other(cluster: Cluster, image: str) -> Iterator[Node]:
    """A second node, which takes every pod that comes next."""
    made = Node(cluster, next(_NUMBERS))
    try:
        assert made.load(_IMAGE, program("pods")) == image
        cluster.kubectl("cordon", "node-1")
        yield made
    finally:
        cluster.kubectl("uncordon", "node-1")
        made.destroy()


def _nodes(small: Declared) -> set[str]:
    """Where its pods are that do not end."""
    pods = json.loads(small.kubectl("get", "pods", "-o", "json"))["items"]
    return {pod["spec"].get("nodeName", "") for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def _dies(cluster: Cluster, other: Node) -> None:
    cluster.kubectl("uncordon", "node-1")
    other.machine.pull_cable()


def test_its_pods_come_up_elsewhere_and_every_verb_goes_on(small: Declared, cluster: Cluster, other: Node) -> None:
    """What was there is shown by the dead node as running, for ever: nothing waits for that."""
    small.ok("up")
    assert _nodes(small) == {other.name}
    _dies(cluster, other)

    until(lambda: _nodes(small) == {"node-1"}, "another node has its pods", 150)
    until(lambda: small.event("status")["state"] == "serving", "they are ready", 60)

    assert small.versions() == {"one"}
    small.write("two")
    small.ok("up")
    assert small.versions() == {"two"}
    small.write("three", more='[checks.never]\nhttp = "http://web:8000/"\nbody = "never"\ntimeout = "2s"\n')
    assert small.run("up").returncode == 1
    assert small.versions() == {"two"}
    small.ok("rollback")
    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"
    small.ok("down")
    assert small.names("deployment.apps") == set()


def test_in_the_middle_of_a_deploy_it_is_one_release_or_degraded_and_the_next_up_needs_no_cleaning(
    small: Declared, cluster: Cluster, other: Node
) -> None:
    """Both releases are there alone, and the new one is just being asked."""
    small.ok("up")
    assert _nodes(small) == {other.name}
    small.write("two")
    with FaultyApi(cluster) as faulty:
        faulty.reach(small.kubeconfig)
        faulty.plan = At(lambda request: "/portforward" in request.path, Before(lambda: _dies(cluster, other)))

        done = small.run("up")

        faulty.plan = passed
        # Of a node that is not missed yet the API server shows every pod as ready: what was there before, too.
        assert done.returncode in (0, 1, 5), done.stdout + done.stderr
        until(lambda: _nodes(small) == {"node-1"}, "another node has its pods", 150)
        until(lambda: bool(small.versions()), "they are ready", 60)
        assert small.versions() == {"two" if done.returncode == 0 else "one"}
        assert small.event("status")["state"] == ("degraded" if done.returncode == 5 else "serving")
        small.write("three")
        small.ok("up")
        assert small.versions() == {"three"}
        assert small.event("status")["state"] == "serving"
