"""What stands as it is declared is told without asking for it; nothing that an apply would change ever is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from provision.cluster.changing.likeness import stands
from provision.cluster.kept.book import Book
from provision.cluster.server.client import Api, Conflict
from provision.cluster.server.objects import Node, differences, in_order, name_of
from provision.cluster.server.refusals import Invalid
from provision.manifests.kubernetes.objects import parse_objects
from tests.cluster.parts import KUBECTL
from tests.cluster.running import Cluster
from tests.cluster.test_accepted import PROJECTS

_MANAGED: dict[str, Any] = {
    "manager": "deploy",
    "operation": "Apply",
    "apiVersion": "v1",
    "fieldsV1": {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {"f:ports": {'k:{"port":80}': {".": {}, "f:port": {}, "f:name": {}}}, "f:selector": {}},
    },
}
WANTED = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {"ports": [{"port": 80, "name": "main"}], "selector": {"app": "web"}},
}


def live(managed: list[dict[str, Any]] | None = None, **spec: Any) -> Node:
    """As the server shows it: with an address and a protocol of its own."""
    there = {"ports": [{"port": 80, "name": "main", "protocol": "TCP"}], "selector": {"app": "web"}, "clusterIP": "::1"}
    metadata = {"name": "web", "namespace": "n", "uid": "u", "labels": {"app": "web", "theirs": "too"}}
    managed = [_MANAGED] if managed is None else managed
    return {"kind": "Service", "metadata": {**metadata, "managedFields": managed}, "spec": {**there, **spec}}


UNLIKE = {
    "another value": live(ports=[{"port": 80, "name": "other", "protocol": "TCP"}]),
    "another item": live(ports=[{"port": 81, "name": "main", "protocol": "TCP"}]),
    "one more item": live(ports=[{"port": 80, "name": "main"}, {"port": 81, "name": "theirs"}]),
    "more in what is set as a whole": live(selector={"app": "web", "more": "too"}),
    "nobody has it": live([]),
    "somebody has it": live([{**_MANAGED, "manager": "ann"}]),
    "it was not applied": live([{**_MANAGED, "operation": "Update"}]),
    "of another version": live([{**_MANAGED, "apiVersion": "v2"}]),
    "of two versions": live([_MANAGED, {**_MANAGED, "apiVersion": "v2"}]),
    "one field is somebody's": live([{**_MANAGED, "fieldsV1": {**_MANAGED["fieldsV1"], "f:metadata": {}}}]),
    "one field would go": live([{**_MANAGED, "fieldsV1": {**_MANAGED["fieldsV1"], "f:data": {"f:a": {}}}}]),
}


def test_what_is_all_ours_with_the_values_that_are_declared_stands() -> None:
    assert stands(WANTED, live())


@pytest.mark.parametrize("what", UNLIKE)
def test_of_anything_else_the_server_is_asked(what: str) -> None:
    assert not stands(WANTED, UNLIKE[what])


@pytest.mark.slow
@pytest.mark.parametrize("project", PROJECTS)
def test_most_of_every_preset_stands_once_it_is_applied(project: str, api_server: Cluster) -> None:
    api, wanted = _applied(project, f"like-{project}", api_server)

    asked = [name_of(node) for node in wanted if not stands(node, _there(api, node))]

    assert len(asked) * 4 < len(wanted), asked


@pytest.mark.slow
@pytest.mark.parametrize("project", PROJECTS)
def test_what_was_applied_here_is_what_kubectl_would_apply_of_the_rendered_files(
    project: str, api_server: Cluster
) -> None:
    """So `kubectl diff` says nothing after an `up`."""
    namespace = f"diff-{project}"
    _applied(project, namespace, api_server)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": _rendered(project)})
    command = [str(KUBECTL), "--kubeconfig", str(api_server.kubeconfig), "--namespace", namespace, "diff", "-f", "-"]

    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.slow
def test_nothing_that_the_server_would_change_is_said_to_stand(api_server: Cluster) -> None:
    """Each field is declared otherwise, left out, and set otherwise by somebody else: dry runs of the server."""
    api, wanted = _applied("golden", "unlike", api_server)
    seen = 0
    for node in {node["kind"]: node for node in wanted}.values():
        there = _there(api, node)
        for other in _others(node):
            assert not stands(other, there), other
            try:
                after = api.apply(other, manager="ann", force=True, dry_run=True)
            except (Conflict, Invalid):
                continue  # the server takes no such object
            if differences(there, after):
                seen += 1
                assert not stands(node, after), (other, after)
    assert seen > 50


def _applied(project: str, namespace: str, api_server: Cluster) -> tuple[Api, list[Node]]:
    """What stable has of it, applied in a namespace of its own."""
    api_server.kubectl("create", "namespace", namespace)
    api = Api(None, Path(api_server.kubeconfig), namespace)
    wanted = Book(api, project).labelled(_rendered(project))
    for node in wanted:
        api.apply(node)
    return api, wanted


def _there(api: Api, node: Node) -> Node:
    there = api.get(*name_of(node))
    assert there
    return there


def _rendered(project: str) -> list[Node]:
    """What stable has."""
    found = [
        each.body
        for file, text in PROJECTS[project].items()
        if file.startswith(("base/", "stable/"))
        for each in parse_objects(file, text)
    ]
    return in_order(each for each in json.loads(json.dumps(found)) if each["kind"] != "Namespace")


def _others(node: Node) -> Iterator[Node]:
    """`node` with one field otherwise, or without it."""
    for path, value in _leaves(node, ()):
        if path[0] in ("apiVersion", "kind") or path[:2] == ("metadata", "name"):
            continue
        changed = deepcopy(node)
        _at(changed, path)[path[-1]] = (
            value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}x"
        )
        yield changed
        without = deepcopy(node)
        del _at(without, path)[path[-1]]
        yield without


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], object]]:
    """Where each value stands, and another one."""
    if isinstance(value, (dict, list)):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(each, (*path, key))
    else:
        yield path, _otherwise(value)


def _otherwise(value: object) -> object:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"{value}x"


def _at(node: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        node = node[step]
    return node
