"""Many nodes that cost nothing: kwok says of each node and pod that it is ready, and nothing runs.

The scheduler, the controllers and the API server are real, so what is counted and waited for is theirs. Nodes are not
renewed every ten seconds as kubelets do, which would be most of what this machine does; so they are missed after hours.
"""

from __future__ import annotations

import json

from tests.cluster.parts import kwok_stages
from tests.cluster.running import Cluster
from tests.testbed.slots import Slot


def with_nodes(slot: Slot, count: int) -> Cluster:
    """A cluster of `count` nodes, all of them ready."""
    cluster = Cluster(slot, controller_options={"node-monitor-grace-period": "5h", "kube-api-qps": "500"})
    try:
        config = ["--kubeconfig", str(cluster.kubeconfig)]
        options = ["--leader-elect=false", "--bind-address=127.0.0.1", "--kube-api-qps=500", "--kube-api-burst=500"]
        cluster.start("kube-scheduler", *config, *options)
        stages = [word for path in kwok_stages() for word in ("--config", str(path))]
        cluster.start("kwok", *config, *stages, "--manage-all-nodes", "--node-lease-duration-seconds=0")
        nodes = {"apiVersion": "v1", "kind": "List", "items": [_node(number) for number in range(count)]}
        cluster.kubectl("create", "-f", "-", text=json.dumps(nodes))
        cluster.until(lambda: _ready(cluster) == count, "kwok")
    except BaseException:
        cluster.destroy()
        raise
    return cluster


def _node(number: int) -> dict[str, object]:
    room = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    name = f"node-{number}"
    status = {"allocatable": room, "capacity": room}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": status,
    }


def _ready(cluster: Cluster) -> int:
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    return sum("taints" not in each["spec"] for each in nodes)
