"""The cluster of these tests: one for all of them, and left out where nobody has built it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import FaultyApi
from tests.cluster.gateway import Gateway
from tests.cluster.given import Given, is_given
from tests.cluster.node import Node
from tests.cluster.parts import CONTROL_PLANE, GATEWAY, NODE, missing, program
from tests.cluster.running import Cluster
from tests.testbed.slots import Slot

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Cluster | None:
    return Given(tmp_path_factory.mktemp("given")) if is_given() else None


@pytest.fixture(scope="session")
def api_server(given: Cluster | None, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A store and an API server, without controllers: what is applied is judged and kept, and nothing runs."""
    if given:
        yield given
        return
    demand("etcd", "kube-apiserver")
    cluster = Cluster(request.getfixturevalue("slot"), controllers=False)
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="session")
def cluster(given: Cluster | None, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """One whose pods run; `cluster.node` has images."""
    if given:
        demand("pods")
        yield given
        return
    with with_a_node(request.getfixturevalue("slot")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def gateway(cluster: Cluster) -> Gateway:
    """What stands before the pods of `cluster`, and what counts the requests to it."""
    cluster.inside()  # it stands on the same machine
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


@pytest.fixture
def faulty(cluster: Cluster) -> Iterator[FaultyApi]:
    """What stands before its API server, and answers by plan."""
    with FaultyApi(cluster) as proxy:
        yield proxy


@pytest.fixture
def served(small: Declared, faulty: FaultyApi) -> Declared:
    """One that serves, deployed and asked through the proxy."""
    faulty.reach(small.kubeconfig)
    small.ok("up")
    return small


@contextmanager
def with_a_node(slot: Slot, **options: Mapping[str, str]) -> Iterator[Cluster]:
    """A cluster whose pods run, while this lasts.

    Args:
        options: of `Cluster`.
    """
    demand(*CONTROL_PLANE, *NODE)
    cluster = Cluster(slot, **options)
    try:
        cluster.node = Node(cluster)
        yield cluster
    finally:
        cluster.destroy()


def demand(*names: str) -> None:
    """Leave the test out where one of these is not built."""
    if lacking := missing(names):
        part = "" if set(lacking) & {*NODE, *GATEWAY} else " control"
        pytest.skip(
            f"{', '.join(lacking)} is not built: make cluster, or scripts/cluster build{part} (once, 10 to 20 minutes)"
        )
