"""Pods of a project's services, what they wrote, and which of them a person is sent to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from provision.cluster.kept.wanted import service_of
from provision.cluster.project_there import ProjectThere
from provision.cluster.server.objects import Node, is_ending, labels_of
from provision.cluster.server.refusals import Invalid
from provision.cluster.waiting.standing import is_ready, own_container
from provision.errors import DeployError, Refused, UsageError
from provision.project.fault import nearest


class Line(NamedTuple):
    """A line that a pod wrote."""

    pod: str
    service: str
    text: str


def chosen(there: ProjectThere, services: Sequence[str]) -> list[str]:
    """The services that are meant: those named, or all that run there.

    Raises:
        UsageError: there is no such service.
    """
    target = there.target
    names = [name for name in there.project.services if target.services is None or name in target.services]
    for name in services:
        if name not in names:
            raise UsageError(f'there is no service "{name}". {nearest(name, names, "services")}'.rstrip())
    return list(services) or names


def pods_of(there: ProjectThere, services: Sequence[str], channel: str) -> list[Node]:
    """The pods of services in a channel, by service and age."""
    found, _ = there.api.list("Pod", {**labels_of(there.project.name), "channel": channel})
    own = [pod for pod in found if service_of(pod) in services]
    return sorted(own, key=lambda pod: (services.index(service_of(pod)), pod["metadata"]["creationTimestamp"]))


def ready_pod(there: ProjectThere, service: str, channel: str) -> str:
    """The newest pod of a service that is ready.

    Raises:
        Refused: none is.
    """
    there.demand_namespace()
    pods = [pod for pod in pods_of(there, [service], channel) if not is_ending(pod)]
    ready = [pod for pod in pods if is_ready(pod)]
    if not ready:
        raise Refused(f"no pod of {service} is ready.", next_step="deploy status", host=there.name)
    return str(ready[-1]["metadata"]["name"])


def only(there: ProjectThere, service: str) -> str:
    """The service that a command is about.

    Raises:
        UsageError: there are several, and none is named.
    """
    names = chosen(there, [service] if service else [])
    if len(names) != 1:
        why = f"There are {', '.join(names)}."
        raise UsageError("a command runs in one service's pod.", why=why, next_step=f"--service {names[0]}")
    return names[0]


def logs(
    there: ProjectThere, services: Sequence[str], channel: str, lines: int, since: int | None, *, follow: bool
) -> Iterator[Line]:
    """The last lines of each pod; then, if they are followed, each line as it comes, until all pods have ended.

    One that can't be read is named, and hides no other's.

    Raises:
        Refused: the cluster does not know who asks, or does not let them.
        Unreachable: it went away.
    """
    names = chosen(there, services)
    there.demand_namespace()
    pods = pods_of(there, names, channel)
    if not follow:
        for pod in pods:
            yield from _lines(there, pod, lines, since, follow=False)
        return
    came: queue.Queue[Line | DeployError | None] = queue.Queue()

    def read(pod: Node) -> None:
        try:
            for line in _lines(there, pod, lines, since, follow=True):
                came.put(line)
        except DeployError as error:
            came.put(error)
        came.put(None)

    for pod in pods:
        threading.Thread(target=read, args=(pod,), daemon=True, name="logs").start()
    left = len(pods)
    while left:
        line = came.get()
        if line is None:
            left -= 1
        elif isinstance(line, DeployError):
            raise line
        else:
            yield line


def _lines(there: ProjectThere, pod: Node, lines: int, since: int | None, *, follow: bool) -> Iterator[Line]:
    name = pod["metadata"]["name"]
    try:
        for text in there.api.log(name, own_container(pod), lines, follow=follow, since=since):
            yield Line(name, service_of(pod), text)
    except Invalid as error:
        there.tell({"event": "warning", "host": there.name, "text": f"{error.what} {error.why}".strip()})
