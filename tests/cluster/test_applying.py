"""Several at once: where one fails, nothing is under way afterwards. And of what is waited for, enough is kept."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from provision.cluster.server.at_once import at_once, each_of
from provision.cluster.server.lean import REVISION, lean
from provision.cluster.server.objects import Node
from provision.cluster.waiting.standing import deployment, is_ready, job, unschedulable


def test_what_comes_of_each_is_in_their_order() -> None:
    with at_once() as pool:
        assert each_of(pool, lambda number: number * 2, range(40)) == [number * 2 for number in range(40)]


def test_where_one_fails_those_under_way_end_and_no_more_begin() -> None:
    begun: list[int] = []
    ended: list[int] = []
    fails, others = threading.Event(), threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 3:
            fails.wait(5)
            raise ValueError(number)
        if number == 5:
            fails.set()
        others.wait(0.3)
        ended.append(number)
        if number == 5:
            raise ValueError(number)  # later: nobody hears of it

    with pytest.raises(ValueError, match="3"), at_once() as pool:
        each_of(pool, work, range(100))

    assert set(ended) == set(begun) - {3}
    assert len(begun) < 20


_CREATING = {"name": "web", "ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}, "imageID": "x"}
_CRASHED = {
    "name": "web",
    "ready": False,
    "restartCount": 3,
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
    "lastState": {"terminated": {"exitCode": 3}},
}
_READY = {"name": "web", "ready": True, "state": {"running": {}}}
_NOWHERE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes",
    "lastProbe": "",
}
_LOST = [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "False"}]


def pod(*containers: Node, conditions: Any = (), **status: Any) -> Node:
    """Of the newest ReplicaSet; with what nobody here reads."""
    return {
        "kind": "Pod",
        "metadata": {
            "name": "web-1-a",
            "uid": "pod",
            "ownerReferences": [{"uid": "set"}],
            "managedFields": [{"manager": "kubelet"}],
        },
        "spec": {"nodeName": "n", "containers": [{"name": "web", "image": "i"}], "tolerations": [{}]},
        "status": {"conditions": list(conditions), "containerStatuses": list(containers), **status},
    }


PODS = {
    "it is made": pod(_CREATING),
    "its first one is made": pod(initContainerStatuses=[_CREATING]),
    "it ends again and again": pod(_CRASHED),
    "no node takes it": pod(conditions=[_NOWHERE]),
    "its node is gone": pod(_READY, conditions=_LOST),
    "it is ready": pod(_READY, conditions=[{"type": "Ready", "status": "True"}]),
    "it ends": {**pod(_CRASHED), "metadata": {**pod()["metadata"], "deletionTimestamp": "now"}},
}


def _deployment(**status: Any) -> Node:
    notes = {REVISION: "2", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    metadata = {"name": "web", "uid": "web", "generation": 2, "annotations": notes}
    spec = {"replicas": 2, "template": {}}
    return {
        "kind": "Deployment",
        "metadata": metadata,
        "spec": spec,
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, **status},
    }


DEPLOYMENTS = {
    "it was not seen": _deployment(observedGeneration=1),
    "it is ready": _deployment(replicas=2, updatedReplicas=2, readyReplicas=2, availableReplicas=2),
    "it waits": _deployment(readyReplicas=1, availableReplicas=1),
    "old ones end": _deployment(replicas=3, readyReplicas=1),
    "its quota is full": _deployment(
        conditions=[{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota", "lastUpdateTime": "x"}]
    ),
    "its time is over": _deployment(
        conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}]
    ),
}
_SET = {
    "kind": "ReplicaSet",
    "metadata": {"uid": "set", "name": "web-1", "ownerReferences": [{"uid": "web"}], "annotations": {REVISION: "2"}},
}
JOBS = {
    "it waits for somebody": {"suspend": True},
    "it failed": {"conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimitExceeded"}]},
    "it is done": {"conditions": [{"type": "Complete", "status": "True"}]},
    "it runs": {},
}


@pytest.mark.parametrize("which", DEPLOYMENTS)
@pytest.mark.parametrize("what", PODS)
def test_what_is_kept_of_an_object_tells_as_much_of_a_deployment(which: str, what: str) -> None:
    whole, one = DEPLOYMENTS[which], PODS[what]

    told = deployment(whole, [_SET], [one])

    assert deployment(lean(whole), [lean(_SET)], [lean(one)]) == told
    assert (is_ready(lean(one)), unschedulable(lean(one))) == (is_ready(one), unschedulable(one))
    assert lean(one)["spec"]["containers"] == [{"name": "web"}]
    assert "managedFields" not in lean(one)["metadata"]


@pytest.mark.parametrize("which", JOBS)
def test_and_of_a_job(which: str) -> None:
    fields = JOBS[which]
    whole: Node = {"kind": "Job", "metadata": {"name": "job", "uid": "set"}, "spec": fields, "status": fields}
    owned = [PODS["it ends again and again"]]

    assert job(lean(whole), [lean(each) for each in owned]) == job(whole, owned)
