"""How a Deployment or a Job stands, judged from what the API server shows of it and of its pods. Pure.

Ready is what `kubectl rollout status` calls so: the controller has seen this generation, and all copies are of it and
available. Stuck is what no waiting mends; a person has to change something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provision.cluster.server.lean import REVISION
from provision.cluster.server.objects import Node, at, is_ending

_CRASHED = "CrashLoopBackOff"
# Reasons of a waiting container (kubelet: pkg/kubelet/images, kuberuntime) that stay until somebody acts.
_HOPELESS = {
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    _CRASHED,
}
_CREATING = ("ContainerCreating", "PodInitializing")
# What a node says whose disk is slow: its runtime goes on with what it has begun, and is asked again.
_SLOW = ("context deadline exceeded", "another CreateContainer request is in progress")


@dataclass(frozen=True)
class Standing:
    """How one of them is."""

    state: str  # ready, waiting, stuck
    told: str = ""  # why it is not ready
    pod: str = ""  # the one that shows it
    container: str = ""  # of that, where one has failed; a moment later it may run again

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    @property
    def stuck(self) -> bool:
        return self.state == "stuck"


REFUSED = "no pod can be made"
READY = Standing("ready")


def deployment(
    node: Node | None,
    sets: Iterable[Node] = (),
    pods: Iterable[Node] = (),
    is_early: Callable[[Node], bool] | None = None,
) -> Standing:
    """How a Deployment stands.

    Args:
        sets, pods: its own, among others; without them only why it is not ready is not known.
        is_early: whether a pod's crashes were those of one that came before what it needs.
    """
    if node is None:
        return Standing("waiting", "it is not there yet")
    status: Mapping[str, Any] = node.get("status") or {}
    if status.get("observedGeneration", 0) < node["metadata"]["generation"]:
        return Standing("waiting", "the controller has not seen it yet")
    wanted = at(node, "spec", "replicas")
    wanted = 1 if wanted is None else wanted
    updated, available, every = (status.get(f"{which}Replicas", 0) for which in ("updated", "available", "ready"))
    if updated == wanted == status.get("replicas", 0) and available == wanted:
        return READY
    newest = newest_pods(node, sets, pods)
    for condition in status.get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Standing("stuck", f"{REFUSED}: {condition.get('message')}")
    for pod in newest:
        if reason := hopeless(pod, is_early=bool(is_early and is_early(pod))):
            return Standing("stuck", reason, pod["metadata"]["name"], telling_container(pod))
    for condition in status.get("conditions") or ():
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            named = newest[0]["metadata"]["name"] if newest else ""
            return Standing("stuck", str(condition.get("message")), named)
    # Its own numbers count what is available of all revisions.
    told = f"{sum(map(is_ready, newest)) if newest else min(available, updated)} of {wanted} available"
    why = next((text for pod in newest if (text := _waits(pod))), "")
    if not why and status.get("replicas", 0) > updated:
        why = f"{status['replicas'] - updated} old ones end"
    return Standing("waiting", f"{told}{': ' if why else ''}{why}" if every or why else told)


def job(node: Node | None, pods: Iterable[Node]) -> Standing:
    """How a Job stands; one that waits to be started is ready."""
    if node is None:
        return Standing("waiting", "it is not there yet")
    if at(node, "spec", "suspend"):
        return READY
    own = [pod for pod in pods if owner(pod) == node["metadata"]["uid"]]
    for condition in at(node, "status", "conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "SuccessCriteriaMet"):
            return READY
        if condition["status"] == "True" and condition["type"] == "Failed":
            named = own[-1]["metadata"]["name"] if own else ""
            return Standing("stuck", f"it failed: {condition.get('message')}", named)
    for pod in own:
        reasons = {at(each, "state", "waiting", "reason") for each in at(pod, "status", "containerStatuses") or ()}
        if reasons & (_HOPELESS - {_CRASHED}):
            return Standing("stuck", hopeless(pod), pod["metadata"]["name"])
    return Standing("waiting", "it runs")


def newest_pods(node: Node, sets: Iterable[Node], pods: Iterable[Node]) -> list[Node]:
    """The pods of a Deployment's newest revision that are not ending."""
    revision = (at(node, "metadata", "annotations") or {}).get(REVISION)
    newest = {
        each["metadata"]["uid"]
        for each in sets
        if owner(each) == node["metadata"]["uid"]
        and (at(each, "metadata", "annotations") or {}).get(REVISION) == revision
    }
    return [pod for pod in pods if owner(pod) in newest and not is_ending(pod)]


def is_ready(pod: Node) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in at(pod, "status", "conditions") or ())


def hopeless(pod: Node, *, is_early: bool = False) -> str:
    """Why a pod will not get better; empty where it may.

    Args:
        is_early: it came before what it needs, so that it may well stay up the next time.
    """
    status = _failing(pod, is_early=is_early)
    if not status:
        return ""
    waiting, ended = status["state"]["waiting"], at(status, "lastState", "terminated") or {}
    code = f", exit status {ended['exitCode']}" if "exitCode" in ended else ""
    # What was put beside the service by somebody's webhook is told by its name.
    whose = f"container {status['name']}: " if status.get("name") not in (None, own_container(pod)) else ""
    return f"{whose}{waiting['reason']}{code}: {waiting.get('message', '')}".rstrip(": ")


def telling_container(pod: Node) -> str:
    """The one whose lines say why a pod fails: that which does, else the service's own."""
    failed = (each for each in _containers(pod) if at(each, "state", "terminated", "exitCode"))
    return str((_failing(pod) or next(failed, {})).get("name") or own_container(pod))


def own_container(pod: Node) -> str:
    """The service's. A webhook may have put others before it: a mesh's proxy is to be there first."""
    names = [str(each["name"]) for each in at(pod, "spec", "containers") or ()]
    service = at(pod, "metadata", "labels", "app.kubernetes.io/name")
    return service if service in names else next(iter(names), "")


def _failing(pod: Node, *, is_early: bool = False) -> Node | None:
    """What its node says of the container for which there is no hope."""
    for status in _containers(pod):
        waiting = at(status, "state", "waiting") or {}
        slow = waiting.get("reason") == "CreateContainerError" and any(
            each in str(waiting.get("message")) for each in _SLOW
        )
        early = is_early and waiting.get("reason") == _CRASHED
        if waiting.get("reason") in _HOPELESS and not slow and not early:
            return status
    return None


def restarts(pod: Node) -> int:
    """How often its containers were started again."""
    return sum(status.get("restartCount", 0) for status in _containers(pod))


def unschedulable(pod: Node) -> str:
    """Why no node takes a pod; empty where one has."""
    for each in at(pod, "status", "conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] == "False" and each.get("reason") == "Unschedulable":
            return str(each.get("message", "no node takes it"))
    return ""


def is_made(pod: Node) -> bool:
    """Whether a node is making it, and none of its containers was begun: volumes come first, then a network."""
    ready = any(
        each["type"] == "PodReadyToStartContainers" and each["status"] == "True"
        for each in at(pod, "status", "conditions") or ()
    )
    waits = [at(each, "state", "waiting", "reason") in _CREATING for each in _containers(pod)]
    return bool(at(pod, "spec", "nodeName")) and not ready and all(waits)


def _waits(pod: Node) -> str:
    if text := unschedulable(pod):
        return text
    for status in _containers(pod):
        reason = at(status, "state", "waiting", "reason")
        if reason:
            return str(reason)
        if not status.get("ready"):
            return "its probe has not passed yet"
    if _is_lost(pod):
        return f"its node, {at(pod, 'spec', 'nodeName')}, does not answer"
    return ""


def _is_lost(pod: Node) -> bool:
    """Whether its node has gone: then a controller says of it that it is not ready, and its containers still are."""
    conditions = {each["type"]: each["status"] for each in at(pod, "status", "conditions") or ()}
    gated = at(pod, "spec", "readinessGates")
    return conditions.get("ContainersReady") == "True" and conditions.get("Ready") == "False" and not gated


def _containers(pod: Node) -> Sequence[Node]:
    return [*(at(pod, "status", "initContainerStatuses") or ()), *(at(pod, "status", "containerStatuses") or ())]


def owner(node: Node) -> str:
    """The uid of what made it; empty where nothing did."""
    return str(at(node, "metadata", "ownerReferences", 0, "uid") or "")
