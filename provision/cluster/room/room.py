"""What is said of room before anything changes: quotas that refuse what is to come, and nodes that could not have it.

Nothing is asked where nothing changes. Quotas are read by a Role; nodes are cluster-wide, and who may not read those is
told that nobody has looked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from provision.cluster.room.capacity import too_large
from provision.cluster.room.quotas import There, too_small
from provision.cluster.server.at_once import ours
from provision.cluster.server.lean import picked
from provision.cluster.server.objects import Node
from provision.errors import Refused

if TYPE_CHECKING:
    from provision.cluster.changing.changes import Change
    from provision.cluster.server.client import Api

_LOOKS, _PAUSE = 3, 1.0  # what is used is counted by a controller, which may be late
_BEGINS = ("create", "change")
_READ = "which deploy render kubernetes --rbac gives"


def refusals(api: Api, wanted: Sequence[Node], planned: Sequence[Change], applyset: str) -> list[str]:
    """Quotas that have no room; nothing where the account may not read them, as those of earlier versions may not."""
    try:
        for _ in range(_LOOKS):
            found = _too_small(api, wanted, planned, applyset)
            if not found:
                break
            time.sleep(_PAUSE)
    except Refused:
        return []
    return found


def demand(api: Api, wanted: Sequence[Node], planned: Sequence[Change], applyset: str) -> None:
    """Refuse what a quota has no room for.

    Raises:
        Refused: says which, and what it would take.
    """
    if full := refusals(api, wanted, planned, applyset):
        raise Refused(
            "the namespace has no room for what would be applied; nothing was changed.",
            why="\n".join(full),
            next_step="declare less, or ask whoever runs the cluster for more; then: deploy plan",
        )


def doubts(api: Api, wanted: Sequence[Node], planned: Sequence[Change]) -> list[str]:
    """What is no refusal: pods that no node of today could have, and what nobody could look at."""
    if not any(each.do in _BEGINS for each in planned):
        return []
    found = []
    try:
        api.demand_listing("ResourceQuota")
    except Refused:
        found.append(f"nobody has looked at quotas: the account may not list resourcequotas, {_READ}")
    try:
        found += too_large(api.list("Node", {}, _room)[0], wanted)
    except Refused:
        found.append(
            f"nobody has looked for room on nodes: the account may not list nodes, {_READ} in cluster-role.yaml"
        )
    return found


def _too_small(api: Api, wanted: Sequence[Node], planned: Sequence[Change], applyset: str) -> list[str]:
    by = {do: [each.name for each in planned if each.do == do] for do in _BEGINS}
    quotas = api.list("ResourceQuota", {})[0] if any(by.values()) else []
    if not quotas:
        return []
    sets, pods = api.list("ReplicaSet", {}, _named)[0], api.list("Pod", {}, _counted)[0]
    there = There(quotas, ours(api, "Deployment", applyset), sets, pods)
    return too_small(there, wanted, by["create"], by["change"])


def _named(node: Node) -> Node:
    return {"metadata": picked(node["metadata"], ("uid", "ownerReferences"))}


def _counted(pod: Node) -> Node:
    """What a quota counts of it, and whose it is."""
    metadata = picked(pod["metadata"], ("uid", "ownerReferences", "deletionTimestamp"))
    spec = {
        key: [{"resources": each.get("resources") or {}} for each in pod["spec"].get(key) or ()]
        for key in ("containers", "initContainers")
    }
    return {"metadata": metadata, "spec": spec, "status": picked(pod.get("status") or {}, ("phase",))}


def _room(node: Node) -> Node:
    return {
        "metadata": picked(node["metadata"], ("labels",)),
        "spec": picked(node.get("spec") or {}, ("taints", "unschedulable")),
        "status": picked(node.get("status") or {}, ("allocatable",)),
    }
