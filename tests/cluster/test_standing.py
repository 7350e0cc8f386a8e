"""What a pod says of itself, and whether waiting helps."""

from __future__ import annotations

from typing import Any

import pytest

from provision.cluster.server.lean import lean
from provision.cluster.server.objects import Name, Node
from provision.cluster.server.watching import Watched
from provision.cluster.waiting.early import Early
from provision.cluster.waiting.standing import hopeless, is_made, job, own_container, telling_container
from provision.cluster.waiting.standings import Standings

_BUSY = 'failed to reserve container name "web"; check if another CreateContainer request is in progress: name "web"'


@pytest.mark.parametrize(
    ("reason", "message", "helps"),
    [
        ("ContainerCreating", "", True),
        ("CreateContainerError", "context deadline exceeded", True),
        ("CreateContainerError", _BUSY, True),
        ("CreateContainerError", "no command specified", False),
        ("ImagePullBackOff", "Back-off pulling image: context deadline exceeded", False),
        ("CrashLoopBackOff", "back-off 10s restarting failed container", False),
    ],
)
def test_a_pod_is_given_up_on_where_waiting_does_not_help(reason: str, message: str, helps: bool) -> None:
    """A slow disk, on which a large image is unpacked, is waited for; its deadline is the Deployment's."""
    waiting = {"state": {"waiting": {"reason": reason, "message": message}}}

    assert (hopeless({"status": {"containerStatuses": [waiting]}}) == "") is helps


def worker(restarted: int) -> Node:
    """A pod of a program that has ended again, after so many runs."""
    status = {"restartCount": restarted, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    return {"metadata": {"uid": "worker"}, "status": {"containerStatuses": [status]}}


@pytest.mark.parametrize(
    ("looks", "stuck"),
    [
        # What its one dependency was at each look, and which run of the program had ended.
        ([("starting", 0)], False),
        ([("starting", 0), ("ready", 0)], False),
        ([("starting", 0), ("ready", 0), ("ready", 1)], True),
        ([("starting", 3), ("ready", 4)], False),
        ([("starting", 3), ("ready", 4), ("ready", 5)], True),
        ([("ready", 0)], True),
        ([("ready", 7)], True),
        ([("ready", 0), ("starting", 0)], False),
    ],
)
def test_a_crash_counts_once_all_that_a_program_comes_after_was_ready(
    looks: list[tuple[str, int]], stuck: bool
) -> None:
    early, name = Early(), Name("Deployment", "worker")

    for other, run in looks:
        is_early = early.judge(name, [worker(run)], waits=other == "starting")
        said = hopeless(worker(run), is_early=is_early(worker(run)))

    assert (said != "") is stuck


def test_a_crash_that_nobody_saw_while_the_other_started_says_nothing() -> None:
    early, name = Early(), Name("Deployment", "worker")

    early.wait(name)

    assert early.judge(name, [worker(1)], waits=False)(worker(1))
    assert not early.judge(name, [worker(2)], waits=False)(worker(2))


def test_only_a_crash_is_early() -> None:
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff"}}}

    assert hopeless({"status": {"containerStatuses": [waiting]}}, is_early=True)


def _crashed(name: str) -> dict[str, object]:
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
    return {"name": name, "state": {"waiting": waiting}, "lastState": {"terminated": {"exitCode": 3}}}


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("web", "CrashLoopBackOff, exit status 3: back-off 10s"),
        ("proxy", "container proxy: CrashLoopBackOff, exit status 3: back-off 10s"),
    ],
)
def test_of_a_pod_with_somebodys_sidecar_what_fails_is_named_and_what_is_read_is_right(fails: str, said: str) -> None:
    """A mesh's webhook puts its proxy first."""
    labels = {"app.kubernetes.io/name": "web"}
    pod = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "proxy"}, {"name": "web"}]},
        "status": {"containerStatuses": [_crashed(fails)]},
    }

    assert hopeless(pod) == said
    assert telling_container(pod) == fails
    assert telling_container({**pod, "status": {}}) == own_container(pod) == "web"


def test_a_job_whose_sidecar_can_not_be_pulled_is_stuck() -> None:
    waits = {"name": "web", "state": {"waiting": {"reason": "PodInitializing"}}}
    proxy = {"name": "proxy", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    metadata = {"name": "web-1", "ownerReferences": [{"uid": "j"}], "labels": {"app.kubernetes.io/name": "web"}}
    names = [{"name": "proxy"}, {"name": "web"}]
    pod = {"metadata": metadata, "spec": {"containers": names}, "status": {"containerStatuses": [waits, proxy]}}

    found = job({"metadata": {"uid": "j"}}, [pod])

    assert (found.state, found.told) == ("stuck", "container proxy: ImagePullBackOff: no such image")


class _Nothing(Watched):
    """All that is watched has gone."""

    def __init__(self) -> None:
        """It asks nobody."""

    def of(self, kind: str) -> list[Node]:
        return []


def test_a_deployment_that_somebody_deletes_is_gone_and_a_job_may_have_ended() -> None:
    waited: list[Node] = [
        {"kind": kind, "metadata": {"name": "web", "generation": 1}, "spec": {}} for kind in ("Deployment", "Job")
    ]

    found = Standings(None, waited).look(_Nothing())  # type: ignore[arg-type]  # nobody is asked

    assert found[Name("Deployment", "web")].stuck
    assert "somebody has deleted it" in found[Name("Deployment", "web")].told
    assert not found[Name("Job", "web")].stuck


_WAITS = {"waiting": {"reason": "PodInitializing"}}
_CRASHES = {"waiting": {"reason": "CrashLoopBackOff"}}
_DONE, _FAILED = ({"terminated": {"exitCode": code}} for code in (0, 2))
_RUNS: dict[str, Any] = {"running": {}}
# What a pod's containers do, those that come first and its own; which of them is the trouble.
TROUBLED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"first": _CRASHES}, {"web": _WAITS}, "first"),
    ({"first": _FAILED}, {"web": _WAITS}, "first"),
    ({"first": _DONE}, {"web": _CRASHES}, "web"),
    ({"first": _DONE}, {"web": _RUNS, "side": _CRASHES}, "side"),
    ({"first": _DONE}, {"web": _RUNS}, "web"),
    ({}, {}, "web"),
]


@pytest.mark.parametrize(("first", "own", "name"), TROUBLED)
def test_the_lines_of_the_container_that_fails_are_those_that_say_why(
    first: dict[str, Any], own: dict[str, Any], name: str
) -> None:
    def told(states: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"name": each, "ready": state is _DONE, "state": state} for each, state in states.items()]

    status = {"initContainerStatuses": told(first), "containerStatuses": told(own)}
    metadata = {"name": "p", "labels": {"app.kubernetes.io/name": "web"}}
    pod = {"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "web"}]}, "status": status}

    assert telling_container(pod) == telling_container(lean(pod)) == name


@pytest.mark.parametrize(
    ("node", "made", "state", "is_being"),
    [
        ("n", "False", "ContainerCreating", True),
        ("n", "True", "ContainerCreating", False),  # its image comes
        ("", "False", "ContainerCreating", False),  # no node has it
        ("n", "False", "CrashLoopBackOff", False),
    ],
)
def test_volumes_are_asked_about_while_a_pod_is_made_and_no_longer(
    node: str, made: str, state: str, *, is_being: bool
) -> None:
    status = {
        "conditions": [{"type": "PodReadyToStartContainers", "status": made}],
        "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": state}}}],
    }
    pod = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": node}, "status": status}

    assert is_made(pod) is is_made(lean(pod)) is is_being
