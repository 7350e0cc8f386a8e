"""Which crashes say nothing yet: those of a program that ran before what it comes `after` was ready.

Kubernetes starts everything at once, and again what has ended; so such a program runs a little later, by itself. What
counts is a run that began when all of that was ready. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from provision.cluster.server.lean import AFTER
from provision.cluster.server.objects import Name, Node, at
from provision.cluster.waiting.standing import restarts

if TYPE_CHECKING:
    from collections.abc import Callable


class Early:
    """What was seen of the pods of a release, look after look."""

    def __init__(self) -> None:
        self._waited: set[Name] = set()  # whose pods were not looked at since all that they come after was ready
        self._runs: dict[str, int] = {}  # by pod, the last run that may have begun before that

    def wait(self, name: Name) -> None:
        """Some of what a Deployment comes after is not ready now."""
        self._waited.add(name)

    def judge(self, name: Name, pods: Iterable[Node], *, waits: bool) -> Callable[[Node], bool]:
        """Whether crashes of these pods of a Deployment say nothing; they are as they are now.

        Args:
            waits: whether some of what it comes after is not ready now.
        """
        if waits:
            self.wait(name)
        if name in self._waited:
            self._runs |= {pod["metadata"]["uid"]: restarts(pod) for pod in pods}
        if not waits:
            self._waited.discard(name)
        return lambda pod: restarts(pod) <= self._runs.get(pod["metadata"]["uid"], -1)


def after(node: Node) -> list[str]:
    """The services that a Deployment comes after."""
    return str((at(node, "metadata", "annotations") or {}).get(AFTER, "")).split()
