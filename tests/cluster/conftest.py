"""The cluster of these tests: one for all of them, and left out where nobody has built it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.declared import Declared
from tests.cluster.gateway import Gateway
from tests.cluster.node import Node
from tests.cluster.parts import CONTROL_PLANE, GATEWAY, NODE, missing, program
from tests.cluster.running import Cluster
from tests.testbed.slots import Slot

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def api_server(slot: Slot) -> Iterator[Cluster]:
    """A store and an API server, without controllers: what is applied is judged and kept, and nothing runs."""
    demand("etcd", "kube-apiserver")
    cluster = Cluster(slot, controllers=False)
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="session")
def cluster(slot: Slot) -> Iterator[Cluster]:
    """One whose pods run; `cluster.node` has images."""
    demand(*CONTROL_PLANE, *NODE)
    cluster = Cluster(slot)
    try:
        cluster.node = Node(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture(scope="session")
def gateway(cluster: Cluster) -> Gateway:
    """What stands before the pods of `cluster`, and what counts the requests to it."""
    demand(*GATEWAY)
    return Gateway(cluster)


@pytest.fixture(scope="session")
def image(cluster: Cluster) -> str:
    """Of a program of ours that answers with its version."""
    assert cluster.node
    return cluster.node.load("localhost/web:1", program("pods"))


@pytest.fixture
def small(cluster: Cluster, image: str, tmp_path: Path) -> Iterator[Declared]:
    """A project of one service with a namespace of its own, declared and not deployed."""
    made = Declared(cluster, tmp_path, f"small{next(_NUMBERS)}", image, tmp_path / "kubeconfig")
    made.write()
    made.make_namespace()
    yield made
    cluster.kubectl("delete", "namespace", made.name, "--ignore-not-found", "--wait=false")


def demand(*names: str) -> None:
    """Leave the test out where one of these is not built."""
    if lacking := missing(names):
        part = "" if set(lacking) & {*NODE, *GATEWAY} else " control"
        pytest.skip(
            f"{', '.join(lacking)} is not built: make cluster, or scripts/cluster build{part} (once, 10 to 20 minutes)"
        )
