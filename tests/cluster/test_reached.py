"""Who reaches whom where NetworkPolicies are enforced (by kube-router): whoever is declared does, and nobody else."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.declared import Declared
from tests.cluster.given import with_its_own
from tests.cluster.machine import Machine
from tests.cluster.parts import KUBECTL, program
from tests.cluster.running import Cluster
from tests.faults.hooks import until
from tests.testbed.slots import configure

pytestmark = pytest.mark.slow

_METADATA = "169.254.169.254"  # of clouds
_DECLARED = """\
[project]
name = "{name}"
image = "{image}"

[services.front]
command = ["/web", "${{port}}"]
port = 8000
env = {{ API = "http://${{services.api.host}}:${{services.api.port}}/" }}
proxy = {{ names = ["{name}.test"] }}

[services.api]
command = ["/web", "${{port}}"]
port = 8001
expose = ["{friend}/32"]
metrics = {{ path = "/metrics" }}
scraped_by = ["{name}-monitoring"]
probes = {{ readiness = {{ period = "1s" }} }}
check = {{ http = "/", timeout = "30s" }}

[services.worker]
command = ["/web", "8009"]
after = ["api"]
outbound = ["{friend}/32:8080", "0.0.0.0/0:443"]

[services.alone]
command = ["/web", "${{port}}"]
port = 8003

[checks.whole]
command = ["/web", "ask", "http://${{services.api.host}}:${{services.api.port}}/"]
timeout = "20s"

[targets.k8s]
platform = "kubernetes"

[targets.k8s.gateway]
name = "public"
namespace = "gateways"
pods_in = "{name}-doors"
"""
# Pods of others, in namespaces of their own: by what comes after the project's name.
_OTHERS: dict[str, dict[str, str]] = {
    "doors": {},
    "monitoring": {},
    "other": {},
    # Labels are anybody's; a namespace is not.
    "forged": {"app.kubernetes.io/name": "front", "channel": "stable"},
}
# Who asks whom, and whether there is an answer. `friend` and `stranger` are machines outside of the cluster.
REACHED: list[tuple[str, str, bool]] = [
    ("front", "api by name", True),
    ("front", "alone", False),
    ("front", "friend:8080", False),
    ("front", "metadata:80", False),
    ("front", "API server", False),
    ("api", "front", False),
    ("api", "friend:8080", False),
    ("worker", "api by name", True),
    ("worker", "front", False),
    ("worker", "friend:8080", True),
    ("worker", "friend:8081", False),
    ("worker", "friend:443", True),
    ("worker", "stranger:8080", False),
    ("worker", "metadata:80", False),
    ("worker", "metadata:443", False),
    ("alone", "api", False),
    ("alone", "api by name", False),
    ("alone", "friend:443", False),
    ("doors", "front", True),
    ("doors", "api", False),
    ("doors", "alone", False),
    ("monitoring", "api", True),
    ("monitoring", "front", False),
    ("other", "front", False),
    ("other", "api", False),
    ("other", "alone", False),
    ("forged", "api", False),
    ("friend", "api", True),
    ("friend", "front", False),
    ("stranger", "api", False),
    ("stranger", "front", False),
    # It is our own rules that say so: where there are none, everybody answers.
    *(("other", f"friend:{port}", True) for port in (8080, 8081, 443)),
    *(("other", f"metadata:{port}", True) for port in (80, 443)),
    ("other", "stranger:8080", True),
    ("other", "API server", True),
]
LANES: list[tuple[str, str, bool]] = [
    ("front-canary", "api-canary by name", True),
    ("front-canary", "api", False),
    ("front", "api-canary", False),
    ("worker-canary", "friend:8080", True),
    ("doors", "front-canary", True),
    ("monitoring", "api-canary", True),
    ("other", "api-canary", False),
    ("front", "api by name", True),
]


_CALLER = """\
[services.caller]
command = ["/web", "${{port}}"]
port = 8005
{after}
env = {{ STATUS = "{status}" }}
check = {{ http = "/", timeout = "{timeout}" }}
probes = {{ readiness = {{ period = "1s" }} }}
drain = "0s"
stop_timeout = "1s"
"""
Case = tuple[str, str, bool]


@dataclass
class Stage:
    """The project, and those around it."""

    small: Declared
    machines: dict[str, Machine]

    def wrong(self, cases: Iterable[Case]) -> dict[Case, str]:
        """Those of `cases` that are not so, and what was said instead."""
        found = json.loads(self.small.kubectl("get", "services,pods", "-o", "json"))["items"]
        with ThreadPoolExecutor(4) as pool:
            asked = {case: pool.submit(self._asked, found, *case[:2]) for case in cases}
        done = {case: each.result() for case, each in asked.items()}
        return {case: said.stdout + said.stderr for case, said in done.items() if case[2] is bool(said.returncode)}

    def _asked(self, found: list[dict[str, Any]], source: str, to: str) -> subprocess.CompletedProcess[str]:
        kubectl: list[str | Path] = [KUBECTL, "--kubeconfig", self.small.cluster.kubeconfig, "--namespace"]
        if source in self.machines:
            command = [*self.machines[source].inside(), "curl", "-sS", "-m", "3", self._url(found, to, "Pod")]
        elif source in _OTHERS:
            command = [*kubectl, f"{self.small.name}-{source}", "exec", source]
        else:
            command = [*kubectl, self.small.name, "exec", f"deployment/{source}"]
        if source not in self.machines:
            command += ["--", "/web", "ask", self._url(found, to, "Service")]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def _url(self, found: list[dict[str, Any]], to: str, kind: str) -> str:
        """A machine knows no way to the address of a Service, so it asks a pod."""
        name, _, port = to.partition(":")
        if port:
            return f"http://{self.machines[name].address if name in self.machines else _METADATA}:{port}/"
        if to == "API server":
            return "http://10.96.0.1:443/"
        name, _, by_name = to.partition(" ")
        (service,) = [each for each in found if each["kind"] == "Service" and each["metadata"]["name"] == name]
        number = service["spec"]["ports"][0]["port"]
        if by_name:
            return f"http://{name}:{number}/"
        if kind == "Service":
            return f"http://{service['spec']['clusterIP']}:{number}/"
        selected = service["spec"]["selector"].items()
        pods = [each for each in found if each["kind"] == "Pod" and selected <= each["metadata"]["labels"].items()]
        return f"http://{pods[0]['status']['podIP']}:{number}/"


@pytest.fixture
def stage(small: Declared, cluster: Cluster, image: str) -> Iterator[Stage]:
    """Nothing of the project is deployed yet; what is outside answers everybody."""
    friend, stranger = Machine(cluster.slot), Machine(cluster.slot)
    namespaces = {which: f"{small.name}-{which}" for which in _OTHERS}
    try:
        configure([f"addr add {_METADATA}/32 dev lo"], namespace=friend.name)
        configure([f"route add {_METADATA} via {friend.address}"], namespace=cluster.name)
        for machine, port in ((friend, 80), (friend, 443), (friend, 8080), (friend, 8081), (stranger, 8080)):
            machine.start(f"web-{port}", str(port), file=program("pods"), environ={"VERSION": "outside"})
        for machine in (friend, stranger):
            configure([f"route add 10.244.0.0/24 via {cluster.address}"], namespace=machine.name)
        items = [each for which, named in namespaces.items() for each in _other(which, named, small.name, image)]
        cluster.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        for which, named in namespaces.items():
            cluster.kubectl("wait", "--for=condition=Ready", f"pod/{which}", "--namespace", named, "--timeout=60s")
        yield Stage(small, {"friend": friend, "stranger": stranger})
    finally:
        cluster.kubectl("delete", "namespace", *namespaces.values(), "--ignore-not-found", "--wait=false")
        configure([f"route delete {_METADATA}"], namespace=cluster.name)
        friend.destroy()
        stranger.destroy()


def _other(which: str, namespace: str, project: str, image: str) -> list[dict[str, Any]]:
    labels = {**_OTHERS[which], "app.kubernetes.io/part-of": project} if _OTHERS[which] else {}
    container = {"name": "web", "image": image, "args": ["8000"]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": which, "namespace": namespace, "labels": labels},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
        },
    ]


@with_its_own
@pytest.mark.usefixtures("gateway")
def test_whoever_is_declared_is_let_through_and_nobody_else(stage: Stage, small: Declared, image: str) -> None:
    """A policy is enforced a moment after it is there, so what is let through is asked again and again, and first."""
    text = _DECLARED.format(name=small.name, image=image, friend=stage.machines["friend"].address)
    (small.root / "deploy.toml").write_text(text)

    small.ok("up")

    _demand(stage, REACHED)
    assert small.event("status")["state"] == "serving"
    assert "asked for" in small.ok("logs", "api")
    small.ok("up", "--channel", "canary")
    _demand(stage, LANES)


def _demand(stage: Stage, cases: list[Case]) -> None:
    left = {case: "" for case in cases if case[2]}
    deadline = time.monotonic() + 20
    while left and time.monotonic() < deadline:
        left = stage.wrong(left)
    assert left == {}
    assert stage.wrong(case for case in cases if not case[2]) == {}


def test_callers_of_the_project_reach_the_canary_s_copies_of_what_is_exposed(small: Declared) -> None:
    """A share by copies: the Service of stable leads to pods of both channels."""
    caller = 'expose = ["192.0.2.0/24"]\n[services.caller]\ncommand = ["/web", "9"]\nafter = ["web"]\n'
    small.write(replicas=2, more=caller)
    small.ok("up")
    small.write("two", replicas=2, more=caller)

    small.ok("up", "--channel", "canary", "--weight", "50%")

    assert set(_answers(small)) == {"200 one", "200 two"}
    assert small.event("status")["state"] == "serving"
    small.ok("promote")
    assert set(_answers(small)) == {"200 two"}
    assert small.event("plan")["unchanged"]


def test_pods_may_do_what_they_could_until_those_in_their_place_are_proven(small: Declared) -> None:
    small.write(more=_CALLER.format(after='after = ["web"]', status=200, timeout="30s"))
    small.ok("up")
    (old,) = (each for each in small.names("pod") if each.startswith("caller-"))
    small.write(more=_CALLER.format(after="", status=500, timeout="12s"))
    with small.start("up") as up:
        until(lambda: len(small.names("pod")) > 2, "the new one begins", 60)
        seen = set()
        while up.poll() is None:
            seen.add(_answer(small, old))
    assert (up.returncode, seen) == (1, {"200 one"})

    small.write(more=_CALLER.format(after="", status=200, timeout="30s"))
    small.ok("up")

    until(lambda: _answer(small, "deployment/caller") != "200 one", "what is no longer declared is closed", 20)
    assert small.event("plan")["unchanged"]


def _answers(small: Declared) -> list[str]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda _: _answer(small, "deployment/caller"), range(24)))


def _answer(small: Declared, pod: str) -> str:
    return small.kubectl("exec", pod, "--", "/web", "ask", "http://web:8000/", check=False).strip()
