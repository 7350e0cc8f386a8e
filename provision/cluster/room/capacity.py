"""Whether the nodes of today could have the pods that are to come, were nobody else there. Pure.

What is said is no refusal: an autoscaler may bring other nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from provision.cluster.room.amounts import NONE, added, of_pod, text, total
from provision.cluster.server.objects import Node, at, name_of
from provision.manifests.kubernetes.pods import amount

_KEEPS_AWAY = ("NoSchedule", "NoExecute")


def too_large(nodes: Sequence[Node], wanted: Sequence[Node]) -> list[str]:
    """Pods that no node could have, or, where each could, what all of them ask for and all nodes have not."""
    taking = [node for node in nodes if not at(node, "spec", "unschedulable")]
    pods = [(node, node["spec"]["template"]["spec"]) for node in wanted if node["kind"] in ("Deployment", "Job")]
    if alone := [said for node, pod in pods for said in _no_node(taking, node, pod)]:
        return alone
    copies = [(1 if (said := at(node, "spec", "replicas")) is None else said, _asked(pod)) for node, pod in pods]
    together = added({name: count * value for name, value in asked.items()} for count, asked in copies)
    return [
        f"all pods ask for {text(value)} {name} together, and all nodes have {text(has)}"
        for name, value in sorted(together.items())
        if value > (has := total(_has(each, name) for each in taking))
    ]


def _no_node(nodes: Sequence[Node], node: Node, pod: Node) -> Iterator[str]:
    meant = [each for each in nodes if _may_have(each, pod)]
    for name, value in sorted(_asked(pod).items()):
        if value > (largest := max((_has(each, name) for each in meant), default=NONE)):
            yield f"{name_of(node)}: a pod asks for {text(value)} {name}, and no node has more than {text(largest)}"


def _asked(pod: Node) -> dict[str, Decimal]:
    head = "requests."
    return {key.removeprefix(head): value for key, value in of_pod(pod).items() if key.startswith(head)}


def _has(node: Node, name: str) -> Decimal:
    return amount(at(node, "status", "allocatable", name) or 0)


def _may_have(node: Node, pod: Node) -> bool:
    labels = at(node, "metadata", "labels") or {}
    if any(labels.get(key) != value for key, value in (pod.get("nodeSelector") or {}).items()):
        return False
    taints = [each for each in at(node, "spec", "taints") or () if each.get("effect") in _KEEPS_AWAY]
    return all(any(_tolerates(each, taint) for each in pod.get("tolerations") or ()) for taint in taints)


def _tolerates(toleration: Node, taint: Node) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and toleration.get("value", "") == taint.get("value", "")
