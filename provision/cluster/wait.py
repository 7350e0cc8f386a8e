"""Waits until everything that was applied runs, or cannot: each step is told, and what is stuck with its log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from provision.cluster.client import Api
from provision.cluster.early import Early, after
from provision.cluster.objects import Name, Node, at, name_of
from provision.cluster.standing import REFUSED, Standing, deployment, job, newest_pods, owner, unschedulable
from provision.cluster.wanted import service_of
from provision.cluster.watching import Watched
from provision.errors import DeployError

Tell = Callable[[dict[str, Any]], None]

KINDS = ("Deployment", "ReplicaSet", "Pod", "Job")
# Old pods may have to end first. A node that an autoscaler is about to add is not waited for: apply again then.
_UNSCHEDULABLE = 30.0  # seconds
_REFUSED = 10.0
_LINES = 12
_SPARE = 9  # times as long as a look took nothing is looked at: thousands of pods must not be all that is done here
_BEYOND = 120.0  # seconds after the controller's own deadline, should it not be heard
_DEADLINE = 600  # Kubernetes' own default of progressDeadlineSeconds


class NotReady(Exception):
    """Something that was applied will not run.

    Args:
        log: the last lines of the container that failed.
    """

    def __init__(self, name: Name, why: str, log: Sequence[str] = ()) -> None:
        super().__init__(f"{name}: {why}")
        self.named = name
        self.why = why
        self.log = tuple(log)


def labels_of(project: str) -> dict[str, str]:
    """What pods of a project have, and what made them."""
    return {"app.kubernetes.io/part-of": project}


def wait(api: Api, seen: Watched, applied: Sequence[Node], tell: Tell, demand: Callable[[], None]) -> None:
    """Until all of `applied` runs, as `seen` shows it.

    Args:
        applied: as the server gave them back.
        demand: asked again and again; raises where nobody may go on.

    Raises:
        NotReady: one is stuck; with its last lines and events.
    """
    waited = [node for node in applied if node["kind"] in ("Deployment", "Job")]
    longest = max((at(node, "spec", "progressDeadlineSeconds") or _DEADLINE for node in waited), default=_DEADLINE)
    deadline = time.monotonic() + longest + _BEYOND
    since: dict[str, float] = {}
    told: dict[Name, str] = {}
    early = Early()
    while True:
        demand()
        began, look = time.monotonic(), Look(seen, since)
        standings = _standings(waited, look, since, early)
        for name, standing in standings.items():
            if standing.stuck:
                raise NotReady(name, _with_events(api, standing), _last_lines(api, seen, standing))
            if told.get(name) != standing.told:
                told[name] = standing.told
                step = "ready" if standing.ready else "wait"
                tell({"event": "step", "step": step, "program": name.name, "detail": standing.told})
        late = [(name, standing) for name, standing in standings.items() if not standing.ready]
        if not any(name.kind == "Deployment" for name, _ in late) and all(_runs_on(name) for name, _ in late):
            return
        if time.monotonic() > deadline:
            name, standing = late[0]
            raise NotReady(
                name, f"not ready in {longest + _BEYOND:.0f} s: {standing.told}", _last_lines(api, seen, standing)
            )
        took = time.monotonic() - began
        seen.wait(2.0)
        time.sleep(min(_SPARE * took, 1.0))


def _runs_on(name: Name) -> bool:
    """A Job may take hours, and nothing here waits for its end; where it has failed by now, that was said."""
    return name.kind == "Job"


class Look:
    """What is seen at one time, by what owns it: of thousands of pods each is looked at once."""

    def __init__(self, seen: Watched, since: dict[str, float]) -> None:
        self._named = {name_of(node): node for kind in ("Deployment", "Job") for node in seen.of(kind)}
        self._owned: dict[str, list[Node]] = {}
        pods = seen.of("Pod")
        for node in (*seen.of("ReplicaSet"), *pods):
            self._owned.setdefault(owner(node), []).append(node)
        self.ends = any(_ends(pod, since) for pod in pods)

    def named(self, name: Name) -> Node | None:
        return self._named.get(name)

    def below(self, node: Node | None) -> list[Node]:
        """What a Deployment made, or a ReplicaSet, or a Job."""
        return self._owned.get(node["metadata"]["uid"], []) if node else []


def _standings(waited: Sequence[Node], look: Look, since: dict[str, float], early: Early) -> dict[Name, Standing]:
    """How each stands; of what comes after others, seen by how these do."""
    found = {name_of(node): _standing(node, look, since) for node in waited}
    unready = {service_of(node) for node in waited if not found[name_of(node)].ready}
    for node in waited:
        if service_of(node) not in unready or not after(node):
            continue
        waits_for = [other for other in after(node) if other in unready]
        standing = _standing(node, look, since, early.judge(waits_for))
        if waits_for and not standing.stuck:
            standing = replace(standing, told=f"{standing.told}; comes after {', '.join(waits_for)}")
        found[name_of(node)] = standing
    return found


def _standing(
    node: Node, look: Look, since: dict[str, float], is_early: Callable[[Node], bool] | None = None
) -> Standing:
    name = name_of(node)
    live = look.named(name)
    if live is not None and live["metadata"]["generation"] < node["metadata"]["generation"]:
        live = None  # a watch that has not caught up yet
    if name.kind == "Job":
        return job(live, look.below(live))
    sets = look.below(live)
    pods = [pod for each in sets for pod in look.below(each)]
    standing = deployment(live, sets, pods, is_early)
    if live is not None and standing.stuck and standing.told.startswith(REFUSED):
        # It stands there for a moment after its cause has gone: pods of a quota that end, a release that was put back.
        if time.monotonic() - since.setdefault(live["metadata"]["uid"], time.monotonic()) > _REFUSED:
            return standing
        return Standing("waiting", standing.told)
    if standing.state != "waiting" or live is None:
        return standing
    since.pop(live["metadata"]["uid"], None)
    for pod in newest_pods(live, sets, pods):
        uid, why = pod["metadata"]["uid"], unschedulable(pod)
        if not why or look.ends:
            since.pop(uid, None)
        elif time.monotonic() - since.setdefault(uid, time.monotonic()) > _UNSCHEDULABLE:
            return Standing("stuck", f"no node takes it: {why}", pod["metadata"]["name"])
    return standing


def _ends(pod: Node, since: dict[str, float]) -> bool:
    """Whether a pod makes room before long; on a node that does not answer one ends for ever."""
    if "deletionTimestamp" not in pod["metadata"]:
        return False
    grace = pod["metadata"].get("deletionGracePeriodSeconds") or 0
    key = f"ending {pod['metadata']['uid']}"
    return time.monotonic() - since.setdefault(key, time.monotonic()) < grace + _UNSCHEDULABLE


def events_of(api: Api, pod: str) -> list[str]:
    """What the cluster says of a pod, the newest last."""
    try:
        events, _ = api.list("Event", {})
    except DeployError:
        return []
    own = [each for each in events if at(each, "involvedObject", "name") == pod]
    own.sort(key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime") or ""))
    return [f"{each.get('reason')}: {each.get('message')}" for each in own if each.get("type") != "Normal"]


def _with_events(api: Api, standing: Standing) -> str:
    said = events_of(api, standing.pod)[-2:] if standing.pod else []
    new = [text for text in said if text.partition(": ")[2] not in standing.told]
    return "\n".join([standing.told, *new])


def _last_lines(api: Api, seen: Watched, standing: Standing) -> list[str]:
    pod = seen.named("Pod", standing.pod) if standing.pod else None
    if pod is None:
        return []
    try:
        return list(api.log(standing.pod, pod["spec"]["containers"][0]["name"], _LINES))
    except DeployError:  # what failed is said without them
        return []
