"""A small project for a cluster, and the real command line on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision.manifests.kubernetes.rbac import render_rbac
from tests.cluster.parts import KUBECTL
from tests.cluster.running import Cluster

DEPLOY = [sys.executable, "-m", "provision.cli"]
_WEB = """\
[project]
name = "{name}"
image = "{image}"

[services.web]
command = ["/web", "${{port}}"]
port = 8000
replicas = {replicas}
resources = {{ memory = "32MiB", cpus = 0.1 }}
env = {{ VERSION = "{version}"{env} }}
probes = {{ readiness = {{ period = "1s" }} }}
check = {{ http = "{path}", body = "{version}", timeout = "{timeout}", interval = "100ms" }}
drain = "0s"
stop_timeout = "1s"
{more}
[targets.k8s]
platform = "kubernetes"
"""
# A model server and where it goes; to be filled in, as the rest of a declaration is.
LLAMA = """\
[services.llama]
preset = "bitnet-server"
model = "{model}"
port = 8081
threads = 1
resources = {{ memory = "512MiB", cpus = 1, requests = {{ memory = "64MiB", cpus = 0.1 }} }}
drain = "0s"
stop_timeout = "1s"
checks = [{{ completion = "The capital of France is", timeout = "30s", attempt_timeout = "20s", passes = 1 }}]

[targets.k8s]
platform = "kubernetes"
"""


@dataclass
class Declared:
    """A web service of one small program, in a namespace of its own."""

    cluster: Cluster
    root: Path
    name: str
    image: str
    kubeconfig: Path
    environ: dict[str, str] = field(default_factory=dict)
    patience: int = 200  # seconds, of a verb

    def write(
        self,
        version: str = "one",
        *,
        env: str = "",
        path: str = "/",
        replicas: int = 1,
        timeout: str = "20s",
        image: str = "",
        more: str = "",
    ) -> None:
        text = _WEB.format(
            name=self.name,
            image=image or self.image,
            version=version,
            env=env,
            path=path,
            replicas=replicas,
            timeout=timeout,
            more=more,
        )
        (self.root / "deploy.toml").write_text(text)

    def make_namespace(self) -> None:
        """As an administrator does it: restricted, with a quota, and with the account that `--rbac` says."""
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": label}}
        self.cluster.kubectl("create", "-f", "-", text=json.dumps(namespace))
        self.kubectl("create", "quota", "everybody", "--hard=pods=60,services=40,count/deployments.apps=40")
        self.cluster.kubectl("apply", "-f", "-", text=render_rbac(self.name, self.name)["role.yaml"])
        token = self.kubectl("create", "token", f"deploy-{self.name}").strip()
        config = json.loads(self.cluster.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        self.kubeconfig.write_text(json.dumps(config))

    @contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """One that runs, and does not outlive a test that fails meanwhile."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([*DEPLOY, *words], cwd=self.root, env=self._environ, text=True, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=self.patience)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def event(self, *words: str) -> dict[str, Any]:
        """The last event of a verb."""
        done = self.run(*words, "--json")
        assert done.stderr == ""
        event: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return event

    def kubectl(self, *words: str, text: str = "", check: bool = True) -> str:
        return self.cluster.kubectl("--namespace", self.name, *words, text=text, check=check)

    def versions(self) -> set[str]:
        """What pods that are ready answer with, asked past everything of ours."""
        labels = "channel=stable,app.kubernetes.io/name=web"
        pods = json.loads(self.kubectl("get", "pods", "-l", labels, "-o", "json"))["items"]
        ready = [
            pod["metadata"]["name"]
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
            and any((each["type"], each["status"]) == ("Ready", "True") for each in pod["status"].get("conditions", ()))
        ]
        return {self._asked(pod) for pod in ready}

    def free(self) -> None:
        """Let the lock's time pass."""
        if found := self.kubectl("get", "lease", f"deploy-{self.name}", "-o", "json", check=False):
            lease = json.loads(found)
            lease["spec"] |= {"renewTime": "2020-01-01T00:00:00.000000Z", "leaseDurationSeconds": 1}
            self.cluster.kubectl("replace", "-f", "-", text=json.dumps(lease))

    def names(self, kind: str) -> set[str]:
        return set(self.kubectl("get", kind, "-o", "name").replace(f"{kind}/", "").split())

    def _asked(self, pod: str) -> str:
        at = f"/api/v1/namespaces/{self.name}/pods/{pod}:8000/proxy/alive"
        return self.cluster.kubectl("get", "--raw", at, "--request-timeout=5s").strip()

    @property
    def _environ(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VAST_", "DEPLOY_"))}
        state = {"XDG_STATE_HOME": str(self.root / "state"), "KUBECONFIG": str(self.kubeconfig)}
        return {**inherited, **state, "PATH": f"{KUBECTL.parent}:{os.environ['PATH']}", **self.environ}
