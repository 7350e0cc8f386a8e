"""Whether there is room for a release: told before anything changes, where it is sure."""

from __future__ import annotations

from typing import Any

import pytest

from provision.cluster.room.capacity import too_large
from provision.cluster.room.quotas import There, too_small
from provision.cluster.server.objects import Node, name_of

_GENTLY = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def pod_spec(cpu: str = "100m", memory: str = "32Mi", **more: Any) -> Node:
    return {
        "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"memory": memory}}}],
        **more,
    }


def deployment(name: str = "web", replicas: int | None = 1, strategy: Node | None = None, **asked: Any) -> Node:
    spec = {"strategy": strategy or _GENTLY, "template": {"spec": pod_spec(**asked)}}
    spec |= {} if replicas is None else {"replicas": replicas}
    ours = {"manager": "deploy", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    return {"kind": "Deployment", "metadata": {"name": name, "uid": name, "managedFields": [ours]}, "spec": spec}


def by_hand(replicas: int) -> Node:
    found = deployment(replicas=replicas)
    return {**found, "metadata": {**found["metadata"], "managedFields": []}}


def quota(used: dict[str, str], **more: Any) -> Node:
    """What is allowed is `more`, by the names of a quota's items with `_` for what no keyword has."""
    hard = {key.replace("_", "."): value for key, value in more.items()}
    return {"metadata": {"name": "small"}, "spec": {}, "status": {"hard": hard, "used": used}}


def there(quotas: list[Node], *live: Node, ending: int = 0) -> There:
    """A namespace in which all copies of what is live run, and as many more of them end."""
    pods = []
    for node in live:
        for number in range(node["spec"]["replicas"] + ending):
            metadata: Node = {"uid": f"{number}", "ownerReferences": [{"uid": f"set-{node['metadata']['uid']}"}]}
            metadata |= {"deletionTimestamp": "now"} if number >= node["spec"]["replicas"] else {}
            pods.append(
                {"metadata": metadata, "spec": node["spec"]["template"]["spec"], "status": {"phase": "Running"}}
            )
    sets = [
        {"metadata": {"uid": f"set-{each['metadata']['uid']}", "ownerReferences": [{"uid": each["metadata"]["uid"]}]}}
        for each in live
    ]
    return There(quotas, {name_of(each): each for each in live}, sets, pods)


RECREATED: dict[str, Any] = {"strategy": {"type": "Recreate"}}
# What is there and wanted, how much a quota allows and has given; what is said of it, or nothing.
QUOTAS: dict[str, tuple[There, Node, str]] = {
    "more copies than pods": (
        there([quota({"pods": "1"}, pods="2")], deployment()),
        deployment(replicas=3),
        "pods: it allows 2, and 3 would be taken",
    ),
    "as many, and each is replaced": (
        there([quota({"pods": "2"}, pods="2")], deployment(replicas=2)),
        deployment(replicas=2, cpu="200m"),
        "pods: it allows 2, and 3 would be taken while a new pod of Deployment web comes before an old one goes",
    ),
    "as many, and the old one goes first": (
        there([quota({"pods": "2"}, pods="2")], deployment(replicas=2, **RECREATED)),
        deployment(replicas=2, cpu="200m", **RECREATED),
        "",
    ),
    "one to spare": (
        there([quota({"pods": "2"}, pods="3")], deployment(replicas=2)),
        deployment(replicas=2, cpu="200m"),
        "",
    ),
    "what ends is counted yet": (
        there([quota({"pods": "3"}, pods="3")], deployment(replicas=2), ending=1),
        deployment(replicas=2, cpu="200m"),
        "",
    ),
    "fewer copies": (
        there([quota({"pods": "3"}, pods="3")], deployment(replicas=3)),
        deployment(replicas=1, cpu="200m"),
        "",
    ),
    "what others have": (
        there([quota({"requests.cpu": "1900m"}, requests_cpu="2")], deployment()),
        deployment(cpu="300m"),
        "requests.cpu: it allows 2, and 2.1 would be taken",
    ),
    "cpu for short": (
        there([quota({"cpu": "100m"}, cpu="350m")], deployment()),
        deployment(cpu="300m"),
        "cpu: it allows 0.35, and 0.4 would be taken while a new pod",
    ),
    "memory that is only limited": (
        there([quota({"requests.memory": "0"}, requests_memory="1Gi")]),
        deployment(memory="2Gi"),
        "requests.memory: it allows 1Gi, and 2Gi would be taken",
    ),
    "what no quota counts": (there([quota({"limits.cpu": "9"}, limits_cpu="9")]), deployment(), ""),
    "objects": (
        there([quota({"count/deployments.apps": "4"}, **{"count/deployments_apps": "4"})]),
        deployment(),
        "count/deployments.apps: it allows 4, and 5 would be taken",
    ),
    "an autoscaler's copies": (
        there([quota({"pods": "3"}, pods="3")], deployment(replicas=3)),
        deployment(replicas=None, cpu="200m"),
        "pods: it allows 3, and 4 would be taken while",
    ),
    "copies that somebody has started by hand": (
        there([quota({"pods": "2"}, pods="3")], by_hand(replicas=2)),
        deployment(replicas=0, cpu="200m"),
        "",
    ),
    "a quota of some pods": (
        there([{**quota({"pods": "1"}, pods="1"), "spec": {"scopes": ["BestEffort"]}}], deployment()),
        deployment(replicas=3),
        "",
    ),
}


@pytest.mark.parametrize("what", QUOTAS)
def test_a_quota_is_too_small_where_it_is_surely_so(what: str) -> None:
    found, wanted, said = QUOTAS[what]
    is_new = name_of(wanted) not in found.live

    told = too_small(found, [wanted], *([name_of(wanted)] if each else [] for each in (is_new, not is_new)))

    assert bool(told) is bool(said), told
    assert all(f"ResourceQuota small: {said}" in each for each in told)


def test_what_stays_as_it_is_needs_no_room() -> None:
    found = there([quota({"pods": "2"}, pods="2")], deployment(replicas=2))
    assert too_small(found, [deployment(replicas=2)], [], []) == []


def test_a_claim_and_a_job_take_of_a_quota_too() -> None:
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    claim |= {"spec": {"resources": {"requests": {"storage": "20Gi"}}}}
    job = {"kind": "Job", "metadata": {"name": "once"}, "spec": {"template": {"spec": pod_spec(cpu="2")}}}
    balanced = {"kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "LoadBalancer"}}
    allowed = {"requests.storage": "10Gi", "requests.cpu": "1", "services.loadbalancers": "0", "services": "5"}
    full = {"metadata": {"name": "q"}, "spec": {}, "status": {"hard": allowed, "used": {}}}
    wanted = [claim, job, balanced]

    told = too_small(there([full]), wanted, [name_of(each) for each in wanted], [])

    assert [each.partition(": ")[2].partition(":")[0] for each in told] == [
        "requests.cpu",
        "requests.storage",
        "services.loadbalancers",
    ]


def node(cpu: str = "2", memory: str = "8Gi", labels: Node | None = None, **spec: Any) -> Node:
    return {
        "metadata": {"labels": labels or {}},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory}},
    }


_TAINTED: dict[str, Any] = {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]}
_TOLERATES: dict[str, Any] = {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]}
_GPU = {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": 1}}}]}
# Nodes, a pod and its copies; what is said.
CAPACITY: dict[str, tuple[list[Node], Node, int, str]] = {
    "it fits": ([node()], pod_spec(), 2, ""),
    "larger than any": (
        [node(), node(cpu="4")],
        pod_spec(memory="900Gi"),
        1,
        "Deployment web: a pod asks for 900Gi memory, and no node has more than 8Gi",
    ),
    "on no node that is meant": (
        [node(cpu="8"), node(labels={"disk": "fast"})],
        pod_spec(cpu="3", nodeSelector={"disk": "fast"}),
        1,
        "a pod asks for 3 cpu, and no node has more than 2",
    ),
    "all together": (
        [node(), node()],
        pod_spec(cpu="1500m"),
        3,
        "all pods ask for 4.5 cpu together, and all nodes have 4",
    ),
    "where nobody may go": ([node(**_TAINTED)], pod_spec(), 1, "no node has more than 0"),
    "where it may go": ([node(**_TAINTED)], pod_spec(**_TOLERATES), 1, ""),
    "a node that is drained": ([node(unschedulable=True), node(cpu="1")], pod_spec(cpu="2"), 1, "more than 1"),
    "what no node has": ([node()], _GPU, 1, "a pod asks for 1 nvidia.com/gpu, and no node has more than 0"),
    "on demand": ([node()], pod_spec(cpu="1500m"), 0, ""),
}


@pytest.mark.parametrize("what", CAPACITY)
def test_what_no_node_of_today_could_have_is_said(what: str) -> None:
    nodes, pod, copies, said = CAPACITY[what]
    wanted = {
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": copies, "template": {"spec": pod}},
    }

    told = too_large(nodes, [wanted])

    assert bool(told) is bool(said), told
    assert all(said in each for each in told)
