"""The node of a cluster: scheduler, containerd, kubelet, kube-proxy, kube-router and CoreDNS, so that pods really run.

What this kind of machine needs of them: cgroups of version 1 by `cgroupfs`; no lower OOM scores, which take
CAP_SYS_RESOURCE; no settings of conntrack, which are the machine's.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.cluster import names
from tests.cluster.images import Images
from tests.cluster.machine import Machine
from tests.cluster.parts import program
from tests.cluster.running import Cluster
from tests.testbed.slots import configure

_CONTAINERD = """\
version = 3
root = "{disk}/containerd"
state = "{disk}/containerd-state"
[grpc]
  address = "{disk}/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{disk}/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
"""
_PODS = "10.244.{}.0/24"  # of a node's number, from 0 on
_EVERY_POD = "10.244.0.0/16"
_CLASS = "node"
_NAMES = "localhost/coredns:1"


class Node(Images):
    """One, started in `cluster` and ready when this returns.

    Args:
        number: 1 is the cluster's own machine; further ones have a machine each, and die by its `pull_cable`.
    """

    def __init__(self, cluster: Cluster, number: int = 1) -> None:
        self._cluster = cluster
        self.name = f"node-{number}"
        self._pods = _PODS.format(number - 1)
        self.machine = cluster if number == 1 else Machine(cluster.slot)
        disk = self.machine.disk
        ctr = [*self.machine.inside(), str(program("ctr")), "--address", str(disk / "containerd.sock")]
        super().__init__(ctr, disk)
        try:
            self._begin()
        except BaseException:
            if number > 1:
                self.machine.destroy()
            raise

    def destroy(self) -> None:
        """End a further one, for good."""
        self.machine.destroy()
        self._cluster.kubectl("delete", "node", self.name, "--wait=false")
        configure([f"route delete {self._pods}"], namespace=self._cluster.name)

    def _begin(self) -> None:
        machine, disk = self.machine, self.machine.disk
        (disk / "cni").mkdir()
        (disk / "cni/10.conflist").write_text(json.dumps(_network(self._pods, disk / "cni/addresses")))
        (disk / "containerd.toml").write_text(_CONTAINERD.format(disk=disk))
        (disk / "kubelet.json").write_text(json.dumps(self._kubelet()))
        machine.start("containerd", "--config", str(disk / "containerd.toml"))
        asked = [*self.ctr, "version"]
        machine.until(lambda: not subprocess.run(asked, capture_output=True, check=False).returncode, "containerd")
        self.load("localhost/pause:1", program("pods"))
        config = ["--kubeconfig", str(self._cluster.kubeconfig)]
        if machine is self._cluster:
            machine.start("kube-scheduler", *config, "--leader-elect=false", "--bind-address=127.0.0.1")
        else:
            configure([f"route add {self._pods} via {machine.address}"], namespace=self._cluster.name)
            configure([f"route add {_PODS.format(0)} via {self._cluster.address}"], namespace=machine.name)
        self.start_kubelet()
        options = ["--proxy-mode=nftables", f"--hostname-override={self.name}", f"--cluster-cidr={_EVERY_POD}"]
        options += ["--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0"]
        options += ["--conntrack-tcp-timeout-close-wait=0", "--healthz-bind-address=127.0.0.1:10256"]
        machine.start("kube-proxy", *config, *options)
        answers = [*machine.inside(), "curl", "-sf", "http://127.0.0.1:10256/healthz"]
        machine.until(lambda: not subprocess.run(answers, capture_output=True, check=False).returncode, "kube-proxy")
        if machine is self._cluster:
            self._cluster.kubectl("apply", "-f", "-", text=names.objects(self.load(_NAMES, program("coredns"))))
        self.wait()
        self._start_policies(config)
        if machine is self._cluster:
            coredns = ("rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=60s")
            self._cluster.kubectl(*coredns)

    def _start_policies(self, config: list[str]) -> None:
        """What enforces NetworkPolicies: the firewall of kube-router alone. It asks for its node when it starts."""
        options = ["--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--metrics-port=0"]
        options += [f"--hostname-override={self.name}", "--service-cluster-ip-range=10.96.0.0/16"]
        self.machine.start("kube-router", *config, *options)
        rules = [*self.machine.inside(), "iptables", "--wait", "--list-rules", "KUBE-NWPLCY-DEFAULT"]
        path = {**os.environ, "PATH": f"/usr/sbin:{os.environ['PATH']}"}

        def are_there() -> bool:
            return not subprocess.run(rules, capture_output=True, env=path, check=False).returncode

        self.machine.until(are_there, "kube-router")

    def start_kubelet(self) -> None:
        """What makes it a node; `machine.stop("kubelet")` is the end of one, whose pods nobody hears of any more."""
        disk = self.machine.disk
        options = ["--root-dir", str(disk / "kubelet"), "--config", str(disk / "kubelet.json")]
        options += ["--kubeconfig", str(self._cluster.kubeconfig), f"--node-ip={self.machine.address}"]
        self.machine.start("kubelet", *options, f"--hostname-override={self.name}")

    def wait(self) -> None:
        """Until it is ready."""
        node = ("get", "node", self.name)
        self.machine.until(lambda: " Ready" in self._cluster.kubectl(*node, check=False), "kubelet")

    def keep(self, name: str, count: int, of_class: str = _CLASS) -> None:
        """Have room for so many claims that ask for no class: folders here, which the group of their pod may write.

        As an administrator gives it by hand: a provisioner is somebody else's program, and nothing here rests on one.
        """
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        made = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": of_class, "annotations": default},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
        volumes = [self._volume(f"{name}-{number}", of_class) for number in range(count)]
        self._cluster.kubectl(
            "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": [made, *volumes]})
        )

    def _volume(self, name: str, of_class: str) -> dict[str, object]:
        place = self.machine.disk / "volumes" / name
        place.mkdir(parents=True)
        here = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [self.name]}]}
        spec = {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "storageClassName": of_class,
            "local": {"path": str(place)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [here]}},
        }
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}

    def _kubelet(self) -> dict[str, object]:
        disk = self.machine.disk
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self._cluster.disk / "pki/ca.crt")},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "podLogsDir": str(disk / "pod-logs"),  # the machine's own would be shared, and each clears away the others'
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.machine.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [names.ADDRESS],
            "clusterDomain": "cluster.local",
            "enforceNodeAllocatable": [],
            "containerRuntimeEndpoint": f"unix://{disk}/containerd.sock",
            # What is not used yet is not fetched again: no image is removed for room.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        }


def _network(pods: str, taken: Path) -> dict[str, object]:
    """Which addresses are taken stands on the node's own disk: on the machine's it outlives nodes that are killed."""
    ways = {
        "type": "host-local",
        "ranges": [[{"subnet": pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(taken),
    }
    bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "ipMasq": False, "ipam": ways}
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }
