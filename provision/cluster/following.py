"""What the pods of a channel write, from now on: also those that come later, until nobody reads any more.

Each is asked again and again for what came since, and not followed: a stream of a pod that says nothing can't be ended
from here, and one that breaks off says nothing of why. Lines have the times of their node, so none is told twice.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from provision.cluster.kept.wanted import service_of
from provision.cluster.pods import Line, chosen, pods_of
from provision.cluster.server.refusals import Invalid
from provision.cluster.waiting.standing import own_container
from provision.contract.slots import CANARY, STABLE
from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.cluster.project_there import ProjectThere
    from provision.cluster.server.objects import Node

_EVERY_SECONDS = 1.0
_MOST = 1000  # lines of a pod between two questions; of more, the last
_MOST_PODS = 64  # the newest of each service first
_BEYOND_SECONDS = 2  # that are asked for twice: the clock of a node is another one

_Mark = tuple[dt.datetime, str]  # of the last line of a pod: times are told to the nanosecond, and read to a thousand


def followed(there: ProjectThere, channel: str, lines: int) -> Iterator[Line | None]:
    """The last lines of each pod, then what comes; None where nothing did for a moment. It has no end of its own.

    Raises:
        UsageError: a cluster has no such channel.
        DeployError: the cluster does not answer, or not to us.
    """
    if channel not in (STABLE, CANARY):
        raise UsageError("a cluster has no candidate: what failed is gone.", next_step="deploy history says why")
    services = chosen(there, [])
    marks: dict[str, _Mark | None] = {}
    asked = time.monotonic()
    while True:
        since, asked = math.ceil(time.monotonic() - asked) + _BEYOND_SECONDS, time.monotonic()
        pods = pods_of(there, services, channel)[-_MOST_PODS:]
        marks = {name: marks.get(name) for name in (str(pod["metadata"]["name"]) for pod in pods)}
        for pod in pods:
            yield from _new(there, pod, lines, since, marks)
        yield None
        time.sleep(_EVERY_SECONDS)


def _log(there: ProjectThere, pod: str, container: str, lines: int, since: int | None) -> Iterator[str]:
    """One whose node does not answer is passed over: it is asked again."""
    with suppress(Invalid):
        yield from there.api.log(pod, container, lines, since=since, timestamps=True)


def _new(there: ProjectThere, pod: Node, lines: int, since: int, marks: dict[str, _Mark | None]) -> Iterator[Line]:
    name, container = str(pod["metadata"]["name"]), own_container(pod)
    before = marks[name]
    asked = (lines, None) if before is None else (_MOST, since)
    for told in _log(there, name, container, *asked):
        when, _, text = told.partition(" ")
        try:
            mark = dt.datetime.fromisoformat(when), when
        except ValueError:  # words of the node's own, such as that there is nothing yet
            continue
        if before is None or mark > before:
            marks[name] = mark
            yield Line(name, service_of(pod), text)
