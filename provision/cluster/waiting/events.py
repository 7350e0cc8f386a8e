"""What a cluster says of a pod beside its status."""

from __future__ import annotations

from provision.cluster.server.client import Api
from provision.cluster.server.objects import Node, at
from provision.errors import DeployError


def events_of(api: Api, pod: str) -> list[Node]:
    """All that is said of a pod, the newest last; nothing where that can't be read."""
    try:
        events, _ = api.list("Event", {}, fields={"involvedObject.name": pod, "involvedObject.kind": "Pod"})
    except DeployError:
        return []
    return sorted(events, key=_when)


def warnings_of(api: Api, pod: str) -> list[str]:
    """What went wrong, in the cluster's words."""
    return [f"{each.get('reason')}: {each.get('message')}" for each in events_of(api, pod) if _warns(each)]


def _warns(event: Node) -> bool:
    return event.get("type") != "Normal"


def _when(event: Node) -> tuple[str, bool]:
    """By the second, as some are not told finer; of those of one second what went wrong is the newer one."""
    said = at(event, "series", "lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    return str(said)[:19], _warns(event)
