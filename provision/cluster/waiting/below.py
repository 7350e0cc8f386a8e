"""What a Deployment or a Job made: asked for where that does not get on, and not watched.

In a rollout of thousands of pods each of them changes several times, which its Deployment tells in a few numbers. What
only a pod says is why it is not ready; of one that gets on nobody asks that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision.cluster.server.lean import lean
from provision.cluster.server.objects import Node, at

if TYPE_CHECKING:
    from provision.cluster.server.client import Api

_LABELS = ("app.kubernetes.io/part-of", "app.kubernetes.io/name", "channel")
_NUMBERS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "active", "failed")
_FIRST, _LONGEST, _GROWS = 1.0, 5.0, 0.1  # between two questions: seconds, seconds, of what it has stood still


@dataclass(frozen=True)
class Below:
    """At one time; nothing where nobody asked."""

    sets: Sequence[Node] = ()
    pods: Sequence[Node] = ()


def below(api: Api, node: Node) -> Below:
    """The ReplicaSets and pods of a service in a channel, each `lean`."""
    labels = {key: value for key, value in node["metadata"]["labels"].items() if key in _LABELS}
    sets = api.list("ReplicaSet", labels, lean)[0] if node["kind"] == "Deployment" else []
    return Below(sets, api.list("Pod", labels, lean)[0])


class Progress:
    """Whether one gets on, and when its pods are to be asked for.

    That is a second after it last got on, and then ever less often: what has stood for a minute changes slowly.
    """

    def __init__(self) -> None:
        self._numbers: object = None
        self.since = self._asked = time.monotonic()  # it has not got on

    def has_got_on(self, live: Node) -> bool:
        """Since this was last asked."""
        numbers = (live["metadata"]["uid"], [at(live, "status", key) for key in _NUMBERS])
        if numbers == self._numbers:
            return False
        self._numbers = numbers
        self.since = self._asked = time.monotonic()
        return True

    @property
    def is_due(self) -> bool:
        now = time.monotonic()
        return now - self._asked >= min(max(_FIRST, _GROWS * (now - self.since)), _LONGEST)

    def ask(self, api: Api, live: Node) -> Below:
        self._asked = time.monotonic()
        return below(api, live)
