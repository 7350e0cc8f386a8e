"""Whether a quota has room for what is to come: a dry run makes no pods, so the server does not say.

Pure. Only what is sure is said: a quota is too small where it is so once all is there, or while one Deployment's pods
are replaced (`maxUnavailable: 0`: the new one comes before the old one goes), whatever order the controllers take. What
is pruned goes only afterwards. A quota of some pods alone (`scopes`) is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from provision.cluster.room.amounts import NONE, Amounts, added, of_object, of_pod, text, total
from provision.cluster.server.objects import MANAGER, Name, Node, at, is_ending, name_of, owns
from provision.cluster.waiting.standing import owner
from provision.manifests.kubernetes.pods import amount

_OVER = ("Succeeded", "Failed")  # pods that a quota does not count any more
_BARE = ("cpu", "memory", "ephemeral-storage")  # a quota may say `cpu` for `requests.cpu`


@dataclass(frozen=True)
class There:
    """What is in the namespace.

    Args:
        live: Deployments of the project, by name.
        pods: of anybody.
    """

    quotas: Sequence[Node]
    live: Mapping[Name, Node]
    sets: Sequence[Node]
    pods: Sequence[Node]


def too_small(there: There, wanted: Sequence[Node], created: Iterable[Name], changed: Iterable[Name]) -> list[str]:
    """Quotas that have no room, each with what it would take.

    Args:
        created, changed: those of `wanted` that are new, or become otherwise.
    """
    new = [node for node in wanted if name_of(node) in set(created)]
    jobs = [node for node in new if node["kind"] == "Job" and not at(node, "spec", "suspend")]
    comes = added([*map(of_object, new), *(of_pod(each["spec"]["template"]["spec"]) for each in jobs)])
    rolled = set(changed)
    copies = [Copies(node, there, rolled=name_of(node) in rolled) for node in wanted if node["kind"] == "Deployment"]
    return [
        f"ResourceQuota {quota['metadata']['name']}: {said}"
        for quota in there.quotas
        if not at(quota, "spec", "scopes") and not at(quota, "spec", "scopeSelector")
        for said in _lacks(quota, comes, copies, there.pods)
    ]


def _lacks(quota: Node, comes: Amounts, copies: Sequence[Copies], pods: Sequence[Node]) -> Iterator[str]:
    """What it has too little of."""
    ours = {each for of_one in copies for each in of_one.uids}
    for key, limit in sorted((at(quota, "status", "hard") or {}).items()):
        named = f"requests.{key}" if key in _BARE else key
        if not comes.get(named) and not any(each.end(named) for each in copies):
            continue
        most, used = amount(limit), amount(at(quota, "status", "used", key) or 0)
        goes = total(of_pod(pod["spec"]).get(named, NONE) for pod in pods if _goes(pod, ours))
        others = max(used - goes, NONE) + comes.get(named, NONE)
        if (end := others + total(each.end(named) for each in copies)) > most:
            yield f"{key}: it allows {text(most)}, and {text(end)} would be taken"
            continue
        least = others + total(each.least(named) for each in copies)
        peaks = [(least - each.least(named) + each.most(named), each.name) for each in copies]
        if peaks and (peak := max(peaks))[0] > most:
            taken = f"{text(peak[0])} would be taken while a new pod of {peak[1]} comes before an old one goes"
            yield f"{key}: it allows {text(most)}, and {taken}"


def _goes(pod: Node, ours: set[str]) -> bool:
    """Whether a pod is counted, and is not to be: it ends, or is counted by its Deployment."""
    counts = at(pod, "status", "phase") not in _OVER
    return counts and (is_ending(pod) or pod["metadata"]["uid"] in ours)


class Copies:
    """The pods of one Deployment, as they are and as they will be.

    Args:
        rolled: whether it becomes otherwise.
    """

    def __init__(self, node: Node, there: There, *, rolled: bool) -> None:
        self.name = name_of(node)
        live = there.live.get(self.name)
        uid = live["metadata"]["uid"] if live else None
        sets = {each["metadata"]["uid"] for each in there.sets if uid and owner(each) == uid}
        own = [pod for pod in there.pods if owner(pod) in sets]
        self.uids = [str(pod["metadata"]["uid"]) for pod in own]
        now = at(live, "spec", "replicas") if live else None
        then = at(node, "spec", "replicas")
        if live and not owns(live, MANAGER, "spec", "replicas"):
            then = None  # an autoscaler counts, or who started it by hand
        self._then = int(then if then is not None else 1 if now is None else now)
        self._now = min(len([pod for pod in own if not is_ending(pod)]), now or 0)
        self._old = of_pod(live["spec"]["template"]["spec"]) if live else {}
        self._new = of_pod(node["spec"]["template"]["spec"])
        gently = at(node, "spec", "strategy", "rollingUpdate", "maxUnavailable") == 0
        self._one_more = bool(rolled and gently and self._now and self._then)

    def end(self, key: str) -> Decimal:
        """What they take once all are there."""
        return self._then * self._new.get(key, NONE)

    def least(self, key: str) -> Decimal:
        """What they take at any time."""
        return min(self._now * self._old.get(key, NONE), self.end(key))

    def most(self, key: str) -> Decimal:
        """What they take at some time: when the first new one comes, and when the last old one goes."""
        if not self._one_more:
            return self.end(key)
        old, new = self._old.get(key, NONE), self._new.get(key, NONE)
        return max(min(self._now, self._then) * old + new, self.end(key) + old)
