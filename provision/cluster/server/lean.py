"""Of an object that is watched or waited for, what anybody here reads of it: a fifth of a pod, by its size.

What `standing`, `wait`, `prove` and `looks` ask for has to be named here. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from provision.cluster.server.objects import Node

_METADATA = (
    "name",
    "uid",
    "generation",
    "labels",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
REVISION = "deployment.kubernetes.io/revision"
AFTER = "deploy.bitnet/after"  # services that a Deployment's own one comes after, with blanks between them
_ANNOTATIONS = (REVISION, AFTER)
_SPEC = ("replicas", "suspend", "progressDeadlineSeconds", "nodeName", "readinessGates")
_CONTAINER = ("name",)
_CONDITION = ("type", "status", "reason", "message")
_STATUS = {  # of its lists; numbers and texts are kept
    "conditions": _CONDITION,
    "containerStatuses": ("name", "ready", "restartCount", "state", "lastState"),
    "initContainerStatuses": ("name", "ready", "restartCount", "state", "lastState"),
}


def lean(node: Node) -> Node:
    """What is kept of a Deployment, a ReplicaSet, a Pod or a Job; of anything else, what names it."""
    metadata, spec, status = (node.get(key) or {} for key in ("metadata", "spec", "status"))
    kept = picked(metadata, _METADATA)
    if annotations := picked(metadata.get("annotations") or {}, _ANNOTATIONS):
        kept["annotations"] = annotations
    found: Node = {"kind": node["kind"], "metadata": kept, "spec": picked(spec, _SPEC)}
    if containers := spec.get("containers"):
        found["spec"]["containers"] = [picked(each, _CONTAINER) for each in containers]
    found["status"] = {
        key: [picked(each, _STATUS[key]) for each in value or ()] if key in _STATUS else value
        for key, value in status.items()
        if key in _STATUS or isinstance(value, (int, str))
    }
    return found


def picked(node: Mapping[str, Any], keys: Collection[str]) -> Node:
    """Of its fields these, where it has them."""
    return {key: node[key] for key in keys if key in node}
