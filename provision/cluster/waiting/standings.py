"""How all that was applied stands, look after look: by what is watched, and by the pods of what does not get on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from provision.cluster.kept.wanted import service_of
from provision.cluster.server.client import Api
from provision.cluster.server.lean import lean
from provision.cluster.server.objects import Name, Node, is_ending, labels_of, name_of
from provision.cluster.server.watching import Watched
from provision.cluster.waiting.below import Below, Progress
from provision.cluster.waiting.early import Early, after
from provision.cluster.waiting.mounts import Mounts
from provision.cluster.waiting.standing import REFUSED, Standing, deployment, job, newest_pods, unschedulable

WATCHED = ("Deployment", "Job")
# Old pods may have to end first. A node that an autoscaler is about to add is not waited for: apply again then.
_UNSCHEDULABLE = 30.0  # seconds
_REFUSED = 10.0
_GONE = Standing("stuck", "it is gone: somebody has deleted it, or changed its labels")
_ASKING = 0.05  # seconds of one look in which pods are asked for


class Standings:
    """Of what was applied, as the server gave it back."""

    def __init__(self, api: Api, waited: Sequence[Node]) -> None:
        self._api = api
        self._waited = {name_of(node): node for node in waited}
        self._progress = {name: Progress() for name in self._waited}
        self._of_pods: dict[Name, Standing] = {}  # of those whose pods were asked for since they last got on
        self._early = Early()
        self._mounts = Mounts(api)
        self._since: dict[str, float] = {}

    def look(self, seen: Watched) -> dict[Name, Standing]:
        """How each stands now."""
        there = {name_of(node): node for kind in WATCHED for node in seen.of(kind)}
        live = {name: _caught_up(node, there.get(name)) for name, node in self._waited.items()}
        found = {name: self._judged(name, node, Below()) for name, node in live.items()}
        late = [name for name, standing in found.items() if not standing.ready]
        unready = {service_of(self._waited[name]) for name in late}
        only_jobs = all(name.kind == "Job" for name in late)
        for name in late:
            if self._waits_for(name, unready):
                self._early.wait(name)
            if (node := live[name]) is not None and self._progress[name].has_got_on(node):
                self._of_pods.pop(name, None)
        began = time.monotonic()
        for name in sorted(late, key=lambda name: self._progress[name].since):
            node, has_time = live[name], time.monotonic() - began < _ASKING
            due = only_jobs or found[name].stuck or (self._progress[name].is_due and has_time)
            if node is not None and due:
                self._of_pods[name] = self._by_pods(name, node, unready)
        # What is seen was listed after it was applied. A Job may end, and be cleared away.
        gone = {name: _GONE for name in self._waited if name.kind == "Deployment" and name not in there}
        return found | {name: self._of_pods[name] for name in late if name in self._of_pods} | gone

    def _by_pods(self, name: Name, live: Node, unready: set[str]) -> Standing:
        """Of what comes after others, seen by how these do."""
        waits_for = self._waits_for(name, unready)
        below = self._progress[name].ask(self._api, live)
        is_early = self._early.judge(name, below.pods, waits=bool(waits_for))
        standing = self._judged(name, live, below, is_early)
        if waits_for and not standing.stuck:
            return replace(standing, told=f"{standing.told}; comes after {', '.join(waits_for)}")
        return standing

    def _waits_for(self, name: Name, unready: set[str]) -> list[str]:
        return [service for service in after(self._waited[name]) if service in unready]

    def _judged(
        self, name: Name, live: Node | None, below: Below, is_early: Callable[[Node], bool] | None = None
    ) -> Standing:
        if name.kind == "Job":
            return job(live, below.pods)
        standing = deployment(live, below.sets, below.pods, is_early)
        if live is not None and standing.stuck and standing.told.startswith(REFUSED):
            # It stands there for a moment after its cause has gone: pods of a quota that end, a release put back.
            if self._has_been(live["metadata"]["uid"], _REFUSED):
                return standing
            return Standing("waiting", standing.told)
        if standing.state != "waiting" or live is None:
            return standing
        self._since.pop(live["metadata"]["uid"], None)
        for pod in newest_pods(live, below.sets, below.pods):
            uid, why = pod["metadata"]["uid"], unschedulable(pod)
            if not why or self._room_comes(pod):
                self._since.pop(uid, None)
            elif self._has_been(uid, _UNSCHEDULABLE):
                return Standing("stuck", f"no node takes it: {why}", pod["metadata"]["name"])
            if why := self._mounts.why(pod):
                stuck = self._mounts.is_stuck(pod) and (self._mounts.is_missing(pod) or not self._room_comes(pod))
                return Standing("stuck" if stuck else "waiting", f"{standing.told}: {why}", pod["metadata"]["name"])
        return standing

    def _room_comes(self, pod: Node) -> bool:
        """Whether a pod of the project ends before long; on a node that does not answer one ends for ever."""
        labels = labels_of(pod["metadata"]["labels"]["app.kubernetes.io/part-of"])
        return any(self._ends(each) for each in self._api.list("Pod", labels, lean)[0])

    def _ends(self, pod: Node) -> bool:
        if not is_ending(pod):
            return False
        grace = pod["metadata"].get("deletionGracePeriodSeconds") or 0
        return not self._has_been(f"ending {pod['metadata']['uid']}", grace + _UNSCHEDULABLE)

    def _has_been(self, what: str, seconds: float) -> bool:
        """Whether it is so for longer than that, since it was first asked here."""
        return time.monotonic() - self._since.setdefault(what, time.monotonic()) > seconds


def _caught_up(node: Node, live: Node | None) -> Node | None:
    """`live`, unless a watch has not caught up with what was applied."""
    return live if live is None or live["metadata"]["generation"] >= node["metadata"]["generation"] else None
