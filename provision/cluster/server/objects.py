"""Objects of a cluster as values: what names one, what belongs to whom, what a person would call different.

Pure. An object is the mapping that the API server reads and gives (API conventions, "Objects").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

Node = dict[str, Any]

MANAGER = "deploy"  # the field manager of everything that is applied here
PART_OF = "applyset.kubernetes.io/part-of"

# In this order they are applied, so that what a pod needs is there before it, and is pruned after it.
PLURALS: Mapping[str, tuple[str, str]] = {
    "ServiceAccount": ("v1", "serviceaccounts"),
    "ConfigMap": ("v1", "configmaps"),
    "Secret": ("v1", "secrets"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "Service": ("v1", "services"),
    "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "Job": ("batch/v1", "jobs"),
    "CronJob": ("batch/v1", "cronjobs"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "Ingress": ("networking.k8s.io/v1", "ingresses"),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", "httproutes"),
}
KEPT = ("Namespace", "PersistentVolumeClaim", "CustomResourceDefinition")  # never pruned: they hold what others made
_ORDER = list(PLURALS)
# What the server writes, and nobody applies.
_SERVER_S = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")


class Name(NamedTuple):
    """What names an object in the namespace of a project."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Member(NamedTuple):
    """An object that was applied here; another one of the same name has another uid."""

    kind: str
    name: str
    uid: str  # empty where its apply was begun and nobody knows how it ended

    @property
    def named(self) -> Name:
        return Name(self.kind, self.name)


def name_of(node: Mapping[str, Any]) -> Name:
    return Name(str(node["kind"]), str(node["metadata"]["name"]))


def labels_of(project: str) -> dict[str, str]:
    """What pods of a project have, and what made them."""
    return {"app.kubernetes.io/part-of": project}


def in_order(objects: Iterable[Node]) -> list[Node]:
    """As they are applied."""
    return sorted(objects, key=lambda node: (_ORDER.index(node["kind"]), node["metadata"]["name"]))


def at(node: Any, *path: str | int) -> Any:
    """What stands there, or None."""
    for step in path:
        if isinstance(step, int):
            node = node[step] if isinstance(node, list) and step < len(node) else None
        else:  # `dict` first: of thousands of pods this is asked for each field
            node = node.get(step) if isinstance(node, (dict, Mapping)) else None
        if node is None:
            return None
    return node


def is_ending(node: Mapping[str, Any]) -> bool:
    """Whether it is being deleted; its finalizers, or its grace period, keep it until then."""
    return bool(at(node, "metadata", "deletionTimestamp"))


def managers(node: Mapping[str, Any]) -> list[str]:
    """Who owns fields of it."""
    return sorted({str(each.get("manager", "?")) for each in at(node, "metadata", "managedFields") or ()})


def owns(node: Mapping[str, Any], manager: str, *path: str) -> bool:
    """Whether `manager` has applied the field at `path` (FieldsV1: each step is `f:NAME`)."""
    steps = tuple(f"f:{step}" for step in path)
    return any(
        each.get("manager") == manager and at(each.get("fieldsV1"), *steps) is not None
        for each in at(node, "metadata", "managedFields") or ()
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Field by field, what `after` has otherwise: `spec.replicas: 1 -> 2`; without what the server itself writes."""
    return list(_differences("", _own(before), _own(after)))


def _own(node: Mapping[str, Any]) -> Node:
    metadata = {key: value for key, value in node.get("metadata", {}).items() if key not in _SERVER_S}
    # `deployment.kubernetes.io/revision` and its like are the controllers'.
    notes = {
        key: value for key, value in (metadata.pop("annotations", None) or {}).items() if "kubernetes.io" not in key
    }
    own = {key: value for key, value in node.items() if key not in ("status", "metadata")}
    return {**own, "metadata": {**metadata, **({"annotations": notes} if notes else {})}}


def _differences(path: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from _differences(f"{path}.{key}" if path else str(key), before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _in_list(path, before, after)
    elif before != after:
        yield f"{path}: {_short(before)} -> {_short(after)}"


def _in_list(path: str, before: list[Any], after: list[Any]) -> Iterator[str]:
    """Lists of what has names are compared by those (API: `listType=map`), others by place."""
    named = [each.get("name") for each in (*before, *after) if isinstance(each, Mapping)]
    if len(named) == len(before) + len(after) and all(named):
        old, new = ({each["name"]: each for each in items} for items in (before, after))
        for name in dict.fromkeys((*old, *new)):
            yield from _differences(f"{path}[{name}]", old.get(name), new.get(name))
        return
    for index in range(max(len(before), len(after))):
        pair = (items[index] if index < len(items) else None for items in (before, after))
        yield from _differences(f"{path}[{index}]", *pair)


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
