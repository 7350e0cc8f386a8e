"""What pods and other objects take of a cluster, as quotas and nodes name it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from provision.cluster.server.objects import PLURALS, Node, at
from provision.manifests.kubernetes.pods import amount

Amounts = Mapping[str, Decimal]
NONE = Decimal(0)
_ONE = Decimal(1)


def of_pod(spec: Node) -> dict[str, Decimal]:
    """What a quota counts of a pod; `requests.cpu` is what a node has to have free."""
    found = {"pods": _ONE, "count/pods": _ONE}
    for which in ("requests", "limits"):
        own, first = ([_of(each, which) for each in spec.get(key) or ()] for key in ("containers", "initContainers"))
        for name in {name for each in (*own, *first) for name in each}:
            together = total(each.get(name, NONE) for each in own)
            found[f"{which}.{name}"] = max([together, *(each.get(name, NONE) for each in first)])
    return found


def _of(container: Node, which: str) -> dict[str, Decimal]:
    """What a container does not ask for it asks for as far as it is allowed."""
    resources = container.get("resources") or {}
    given = {**(resources.get("limits") or {}), **(resources.get(which) or {})}
    return {
        name: amount(value) for name, value in (given if which == "requests" else resources.get(which) or {}).items()
    }


def of_object(node: Node) -> dict[str, Decimal]:
    """What a quota counts of an object itself."""
    version, plural = PLURALS[node["kind"]]
    group = version.rpartition("/")[0]
    found = {f"count/{plural}.{group}" if group else f"count/{plural}": _ONE}
    if not group:
        found[plural] = _ONE
    kind = at(node, "spec", "type")
    if node["kind"] == "Service" and kind in ("LoadBalancer", "NodePort"):
        found["services.nodeports"] = _ONE
        found |= {"services.loadbalancers": _ONE} if kind == "LoadBalancer" else {}
    if node["kind"] == "PersistentVolumeClaim":
        found["requests.storage"] = amount(at(node, "spec", "resources", "requests", "storage") or 0)
    return found


def total(values: Iterable[Decimal]) -> Decimal:
    return sum(values, NONE)


def added(every: Iterable[Amounts]) -> dict[str, Decimal]:
    """All of them together."""
    found: dict[str, Decimal] = {}
    for each in every:
        for name, value in each.items():
            found[name] = found.get(name, NONE) + value
    return found


def text(value: Decimal) -> str:
    """As a person writes it: `2`, `0.5`, `900Gi`."""
    for unit, size in (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20)):
        if value >= size:
            return f"{round(value / size, 1).normalize():f}{unit}"
    return f"{value.normalize():f}"
