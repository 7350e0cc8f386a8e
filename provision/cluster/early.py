"""Which crashes say nothing yet: those of a program that ran before what it comes `after` was ready.

Kubernetes starts everything at once, and again what has ended; so such a program runs a little later, by itself. What
counts is a run that began when all of that was ready. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from provision.cluster.lean import AFTER
from provision.cluster.objects import Node, at
from provision.cluster.standing import restarts

if TYPE_CHECKING:
    from collections.abc import Callable


class Early:
    """What was seen of the pods of a release, look after look."""

    def __init__(self) -> None:
        self._runs: dict[str, int] = {}  # by pod, the last run that may have begun before what it needs

    def judge(self, waits_for: Collection[str]) -> Callable[[Node], bool]:
        """Whether a pod's crashes say nothing, where it waits for these at this look."""
        return partial(self._is_early, bool(waits_for))

    def _is_early(self, waits: bool, pod: Node) -> bool:
        run, uid = restarts(pod), pod["metadata"]["uid"]
        if waits:
            self._runs[uid] = run
        return run <= self._runs.get(uid, -1)


def after(node: Node) -> list[str]:
    """The services that a Deployment comes after."""
    return str((at(node, "metadata", "annotations") or {}).get(AFTER, "")).split()
