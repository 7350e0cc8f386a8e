"""A pod whose volume can't be mounted: of that its status says `ContainerCreating` alone, and its events say why.

Its node tries it again and again, and each time says FailedMount (kubelet, "volume manager"). What a volume is made of
and nobody has stays so until somebody makes it; a disk that is slow, or that another node has, may come yet.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from provision.cluster.server.objects import Node, at
from provision.cluster.waiting.events import events_of
from provision.cluster.waiting.standing import is_made

if TYPE_CHECKING:
    from provision.cluster.server.client import Api

_FAILED = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_MISSING = re.compile(r'\b(configmap|secret|persistentvolumeclaim) "[^"]*" not found|non-existent|type check failed')
_FIRST = 3.0  # seconds, in which most pods have all of their volumes; before, nothing is asked
_EVERY = 4.0  # of one pod
_BETWEEN = 0.5  # of all: many may be made at once
_PATIENCE, _LONGER = 8.0, 60.0  # where what is mounted is missing, and where it may come yet


class Mounts:
    """What the events of pods say of their volumes, asked now and then while somebody waits for these pods."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._began: dict[str, float] = {}  # uid -> when it was seen for the first time
        self._asked: dict[str, float] = {}
        self._last = 0.0
        self._failing: dict[str, tuple[float, str]] = {}  # uid -> since when, and why

    def why(self, pod: Node) -> str:
        """What a pod that is being made waits for, where that is a volume; as far as it is known yet."""
        uid, now = str(pod["metadata"]["uid"]), time.monotonic()
        if not is_made(pod):
            self._failing.pop(uid, None)
            return ""
        began = self._began.setdefault(uid, now)
        due = max(began + _FIRST, self._asked.get(uid, 0.0) + _EVERY, self._last + _BETWEEN)
        if now >= due:
            self._asked[uid] = self._last = now
            self._look(pod, uid, now)
        return self._failing.get(uid, (0.0, ""))[1]

    def is_stuck(self, pod: Node) -> bool:
        """Whether it has been so for longer than what may come yet takes."""
        since, why = self._failing.get(str(pod["metadata"]["uid"]), (0.0, ""))
        return bool(why) and time.monotonic() - since > (_PATIENCE if self.is_missing(pod) else _LONGER)

    def is_missing(self, pod: Node) -> bool:
        """Whether it needs somebody who makes it, and no pod that ends."""
        return bool(_MISSING.search(self._failing.get(str(pod["metadata"]["uid"]), (0.0, ""))[1]))

    def _look(self, pod: Node, uid: str, now: float) -> None:
        last = next(reversed(events_of(self._api, str(pod["metadata"]["name"]))), None)
        if last is None or last.get("reason") not in _FAILED:
            self._failing.pop(uid, None)
            return
        why = f"{last['reason']}: {at(last, 'message')}"
        self._failing[uid] = self._failing.get(uid, (now, ""))[0], why
