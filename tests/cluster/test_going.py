"""What is being deleted: whatever is applied to it would go with it. Asked of a real API server."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.cluster.changing import changes
from provision.cluster.kept.book import Book
from provision.cluster.server.client import Api
from provision.cluster.server.objects import Node
from provision.errors import Refused
from tests.cluster.declared import Declared
from tests.cluster.running import Cluster

NAMES = (f"going{number}" for number in itertools.count())


@pytest.fixture
def api(api_server: Cluster) -> Iterator[Api]:
    made = Api(None, api_server.kubeconfig, "default")
    yield made
    made.close()


@pytest.fixture
def held(api: Api, api_server: Cluster) -> tuple[list[Node], str]:
    """An object of ours that somebody's finalizer keeps, and the project's ApplySet."""
    name = next(NAMES)
    book = Book(api, name)
    node = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {}}, "data": {"a": "one"}}
    (wanted,) = book.labelled([node])
    api.apply(wanted)
    api_server.kubectl("patch", "configmap", name, "-p", '{"metadata": {"finalizers": ["example.net/balancer"]}}')
    api_server.kubectl("delete", "configmap", name, "--wait=false")
    return [wanted], book.applyset


def test_it_is_refused_with_what_keeps_it(
    held: tuple[list[Node], str], api: Api, api_server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, applyset = held
    monkeypatch.setattr(changes, "_ENDS", 0.5)

    (planned,) = changes.changes(api, wanted, applyset)
    assert "it is being deleted, and example.net/balancer keeps it" in planned.refused
    with pytest.raises(Refused, match="nothing was changed") as refused:
        changes.demand(api, wanted, applyset, (), lambda _event: None)

    name = wanted[0]["metadata"]["name"]
    assert refused.value.next_step.startswith(f"kubectl get configmap {name} -o yaml")
    api_server.kubectl("get", *refused.value.next_step.split()[2:6])


def test_a_claim_that_pods_have_is_not_waited_for_and_what_is_in_it_can_be_saved(api: Api, api_server: Cluster) -> None:
    name = next(NAMES)
    book = Book(api, name)
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    node = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "labels": {}}, "spec": spec}
    (wanted,) = book.labelled([node])
    api.apply(wanted)
    kept = '{"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}}'
    api_server.kubectl("patch", "pvc", name, "-p", kept)
    api_server.kubectl("delete", "pvc", name, "--wait=false")
    told: list[dict[str, Any]] = []

    with pytest.raises(Refused, match="nothing was changed") as refused:
        changes.demand(api, [wanted], book.applyset, (), told.append)

    assert told == []
    assert "kubernetes.io/pvc-protection keeps it" in refused.value.why
    assert refused.value.next_step.startswith("copy out what is in it")


def test_it_is_waited_for_and_made_anew(held: tuple[list[Node], str], api: Api, api_server: Cluster) -> None:
    wanted, applyset = held
    told: list[dict[str, Any]] = []
    name = wanted[0]["metadata"]["name"]

    def let_go(event: dict[str, Any]) -> None:
        told.append(event)
        free = ("patch", "configmap", name, "-p", '{"metadata": {"finalizers": null}}')
        threading.Thread(target=api_server.kubectl, args=free).start()

    (planned,) = changes.demand(api, wanted, applyset, (), let_go)

    assert (planned.do, planned.refused) == ("create", "")
    assert [f"for ConfigMap {name}" in event["text"] for event in told] == [True]


def test_a_namespace_that_goes_is_said_to(api_server: Cluster) -> None:
    """No controller runs here, so it goes on going."""
    name = next(NAMES)
    api_server.kubectl("create", "namespace", name)
    api_server.kubectl("delete", "namespace", name, "--wait=false")
    there = Api(None, api_server.kubeconfig, name)

    with pytest.raises(Refused, match=f"namespace {name} is being deleted") as refused:
        there.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}})

    there.close()
    assert refused.value.next_step.startswith(f"kubectl get namespace {name}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "plan",
        "up",
        "status",
        "down",
        "logs",
        "exec -- id",
        "rollback",
        "promote",
        "smoke",
        "tunnel",
        "history",
        "traffic",
    ],
)
def test_where_there_is_no_namespace_every_verb_says_so(words: str, api_server: Cluster, tmp_path: Path) -> None:
    nowhere = Declared(api_server, tmp_path, "nowhere", "localhost/web@sha256:" + "a" * 64, api_server.kubeconfig)
    nowhere.write()

    done = nowhere.run(*words.split())

    assert (words, done.returncode) == (words, 4), done.stdout + done.stderr
    assert "there is no namespace nowhere" in done.stderr
    assert "next: kubectl create namespace nowhere" in done.stderr
