"""A cluster that runs: etcd, the API server and the controllers, and a node for pods where they are wanted.

All of it lies in one network, process and mount namespace in a slot of the test bed, so that its end is the end of one
process. `nsenter` enters, because `ip netns exec` mounts a /sys of its own, in which a kubelet finds no cgroups.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import certificates
from tests.cluster.parts import KUBECTL, program
from tests.testbed.cgroups import make_cgroups
from tests.testbed.problems import TestBedProblem
from tests.testbed.processes import start_time
from tests.testbed.slots import Slot, configure, destroy, end

if TYPE_CHECKING:
    from tests.cluster.node import Node

API_PORT = 6443
_ETCD, _PEER = 2379, 2380
_START_SECONDS = 120


class Cluster:
    """An API server with its store and its controllers; `Node` makes pods run in it."""

    def __init__(
        self, slot: Slot, *, controllers: bool = True, controller_options: Mapping[str, str] | None = None
    ) -> None:
        self.slot = slot
        self.number = slot.take_number()
        self.name = slot.name(self.number)
        self.disk = slot.directory / self.name
        self.address = f"198.18.{slot.number}.{self.number}"
        self.kubeconfig = self.disk / "kubeconfig"
        self.node: Node | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.disk.mkdir()
        try:
            self._make_namespaces()
            certificates.write(self.disk / "pki", ["127.0.0.1", self.address, "10.96.0.1"])
            self._write_kubeconfig()
            self.start_etcd()
            self.start_api()
            if controllers:
                self._start_controllers(controller_options or {})
        except BaseException:
            self.destroy()
            raise

    def destroy(self) -> None:
        """End it, with its pods, and remove all it had."""
        end(self.disk)
        for process in self._running.values():
            process.wait()
        destroy(self.disk)
        self.slot.give_number(self.number)

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

    def start(
        self, name: str, *options: str, file: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        """Start one of the cluster's programs inside, or `file`; its log in NAME.log."""
        paths = f"{program('containerd-shim-runc-v2').parent}:/usr/sbin:{os.environ['PATH']}"
        with (self.disk / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*self.inside(), file or program(name), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.disk,
                env={**os.environ, "PATH": paths, **(environ or {})},
            )

    def stop(self, name: str) -> None:
        """Kill one of them, as a power cut would."""
        process = self._running.pop(name)
        subprocess.run(["pkill", "-KILL", "--parent", str(process.pid)], check=True)
        process.wait()

    def inside(self) -> list[str]:
        """What stands before a command that runs inside."""
        init = (self.disk / "init").read_text().split()[0]
        return ["nsenter", f"--target={init}", "--net", "--pid", "--mount"]

    def until(self, condition: Callable[[], bool], name: str) -> None:
        """Wait for `condition`, as long as the program `name` runs.

        Raises:
            TestBedProblem: it ended, or the time did; with its last lines.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            if self._running[name].poll() is not None or time.monotonic() > deadline:
                tail = (self.disk / f"{name}.log").read_text(errors="replace").splitlines()[-8:]
                raise TestBedProblem(f"{name} is not ready:\n" + "\n".join(tail), f"see {self.disk}/{name}.log")
            time.sleep(0.1)

    def _make_namespaces(self) -> None:
        cable = f"link add {self.name}v type veth peer name eth0 netns {self.name}"
        configure([f"netns add {self.name}", cable, f"link set {self.name}v master {self.slot.bridge} up"])
        lines = [f"addr add {self.address}/24 dev eth0", "link set eth0 up", "link set lo up"]
        configure([*lines, f"route add default via {self.slot.gateway}"], namespace=self.name)
        make_cgroups(self.name, every=True)
        command = ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--pid", "--mount", "--fork"]
        command += ["--kill-child", "--mount-proc", "docker-init", "--", "sleep", "infinity"]
        waiter = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self._running["docker-init"] = waiter
        children = Path(f"/proc/{waiter.pid}/task/{waiter.pid}/children")
        deadline = time.monotonic() + _START_SECONDS
        while not (found := children.read_text().split()):
            if time.monotonic() > deadline:
                raise TestBedProblem("nothing began inside", "is util-linux's unshare there?")
            time.sleep(0.01)
        (self.disk / "init").write_text(f"{found[0]} {start_time(int(found[0]))}")

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
