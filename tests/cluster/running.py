"""A cluster that runs: etcd, the API server and the controllers, and a node for pods where they are wanted.

All of it runs on one machine, as the first node does.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.cluster import certificates
from tests.cluster.machine import Machine
from tests.cluster.parts import KUBECTL
from tests.testbed.slots import Slot

if TYPE_CHECKING:
    from tests.cluster.node import Node

API_PORT = 6443
_ETCD, _PEER = 2379, 2380


class Cluster(Machine):
    """An API server with its store and its controllers; `Node` makes pods run in it."""

    def __init__(
        self,
        slot: Slot,
        *,
        controllers: bool = True,
        controller_options: Mapping[str, str] | None = None,
        api_options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(slot)
        self.kubeconfig = self.disk / "kubeconfig"
        self.api = self.address, API_PORT
        self.authority = self.disk / "pki/ca.crt"
        self.node: Node | None = None
        self._api_options = api_options or {}
        try:
            certificates.write(self.disk / "pki", ["127.0.0.1", self.address, "10.96.0.1"])
            self._write_kubeconfig()
            self.start_etcd()
            self.start_api()
            if controllers:
                self._start_controllers(controller_options or {})
        except BaseException:
            self.destroy()
            raise

    def kubectl(self, *words: str, text: str = "", check: bool = True) -> str:
        """What kubectl prints, as the cluster's administrator."""
        command = [KUBECTL, "--kubeconfig", self.kubeconfig, *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def start_etcd(self) -> None:
        at, peer = f"http://127.0.0.1:{_ETCD}", f"http://127.0.0.1:{_PEER}"
        options = ["--data-dir", str(self.disk / "etcd"), "--unsafe-no-fsync", "--listen-client-urls", at]
        options += ["--advertise-client-urls", at, "--listen-peer-urls", peer]
        options += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
        self.start("etcd", *options)

    def start_api(self) -> None:
        """Start the API server, and wait until it is ready."""
        pki = self.disk / "pki"
        options = {
            "etcd-servers": f"http://127.0.0.1:{_ETCD}",
            "secure-port": API_PORT,
            "bind-address": "0.0.0.0",
            "advertise-address": self.address,
            "tls-cert-file": pki / "server.crt",
            "tls-private-key-file": pki / "server.key",
            "client-ca-file": pki / "ca.crt",
            "kubelet-client-certificate": pki / "admin.crt",
            "kubelet-client-key": pki / "admin.key",
            # Else exec and logs look up the node's name.
            "kubelet-preferred-address-types": "InternalIP",
            "service-account-key-file": pki / "accounts.pub",
            "service-account-signing-key-file": pki / "accounts.key",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-cluster-ip-range": "10.96.0.0/16",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "enable-aggregator-routing": "true",  # straight to what stands behind an APIService
            **self._api_options,
        }
        self.start("kube-apiserver", *(f"--{name}={value}" for name, value in options.items()))
        self.until(lambda: "ok" in self.kubectl("get", "--raw", "/readyz", check=False), "kube-apiserver")

    def _start_controllers(self, more: Mapping[str, str]) -> None:
        pki = self.disk / "pki"
        options = {
            "kubeconfig": self.kubeconfig,
            "service-account-private-key-file": pki / "accounts.key",
            "root-ca-file": pki / "ca.crt",
            "use-service-account-credentials": "true",
            "leader-elect": "false",
            "bind-address": "127.0.0.1",
            "horizontal-pod-autoscaler-sync-period": "2s",  # instead of 15
            **more,
        }
        self.start("kube-controller-manager", *(f"--{name}={value}" for name, value in options.items()))

    def _write_kubeconfig(self) -> None:
        pki = self.disk / "pki"
        cluster = {"server": f"https://{self.address}:{API_PORT}", "certificate-authority": str(pki / "ca.crt")}
        user = {"client-certificate": str(pki / "admin.crt"), "client-key": str(pki / "admin.key")}
        self.kubeconfig.write_text(json.dumps(kubeconfig(cluster, user)))


def kubeconfig(cluster: dict[str, str], user: dict[str, str]) -> dict[str, object]:
    """As kubectl reads it, with one context."""
    context = {"cluster": "here", "user": "me"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": context}],
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "me", "user": user}],
    }
