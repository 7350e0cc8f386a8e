"""A claim that no volume answers: nobody provisions any, as on a cluster whose administrator gives them by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.declared import Declared
from tests.cluster.node import Node
from tests.cluster.running import Cluster

pytestmark = pytest.mark.slow

_VOLUME = 'volumes = { data = { path = "/data", size = "1GiB" } }\n'


@pytest.fixture
def node(cluster: Cluster, small: Declared) -> Iterator[Node]:
    """Whose class of storage is the one that a claim gets which names none, and has no volumes."""
    assert cluster.node
    cluster.node.keep(small.name, 0, of_class=small.name)
    yield cluster.node
    cluster.kubectl("delete", "storageclass", small.name)
    for name in (f"{small.name}-0", f"{small.name}-more-0"):
        cluster.kubectl("delete", "persistentvolume", name, "--ignore-not-found", "--wait=false")


def test_it_is_said_and_put_back_and_the_same_release_comes_up_once_there_is_one(small: Declared, node: Node) -> None:
    small.ok("up")
    small.write("two", more=_VOLUME)

    done = small.run("up")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "no node takes it: " in done.stderr
    assert "persistent volumes to bind" in done.stderr
    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"
    node.keep(small.name, 1, of_class=small.name)
    small.ok("up")
    assert small.versions() == {"two"}
    assert small.event("status")["state"] == "serving"
    small.write("three")
    small.ok("up")
    assert small.versions() == {"three"}
    assert "Bound" in small.kubectl("get", "persistentvolumeclaims"), "what it wrote is never removed"


def test_a_claim_that_can_not_become_otherwise_is_refused_with_what_can(small: Declared, node: Node) -> None:
    node.keep(small.name, 1, of_class=small.name)
    node.keep(f"{small.name}-more", 1, of_class=small.name)
    small.write(more=_VOLUME)
    small.ok("up")
    small.write("two", more=_VOLUME.replace("1GiB", "2GiB"))

    planned, refused = small.run("plan"), small.run("up")

    assert planned.returncode == refused.returncode == 4, planned.stdout
    for said in (planned.stdout, refused.stderr):
        assert "PersistentVolumeClaim web-data" in said
        assert "declare it so, or give the volume another name; what is in it stays there" in said
    assert small.versions() == {"one"}
    small.write("two", more=_VOLUME.replace("1GiB", "2GiB").replace("data = {", "larger = {"))
    small.ok("up")
    assert small.versions() == {"two"}
    assert small.names("persistentvolumeclaim") == {"web-data", "web-larger"}
