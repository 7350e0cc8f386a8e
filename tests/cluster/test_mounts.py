"""What keeps a pod from its volumes, or fails before its own container: it is said early, in the cluster's words."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import At, Before, FaultyApi, passed

pytestmark = pytest.mark.slow

_POD = Path(__file__).parents[2] / "templates/kubernetes/pod.yaml.j2"
_PLACES = {"mounts": "          volumeMounts:\n", "volumes": "      volumes:\n", "containers": "      containers:\n"}
_SECRET = 'secret_files = ["TOKEN"]\n'
_FIRST = """\
      initContainers:
        - name: first
          image: {image}
          command: ["/web"]
          env: [{{name: CRASH, value: no key for the door}}]
          securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"""


def _own_template(small: Declared, **more: str) -> None:
    """A template of the project's own: ours, with more after `mounts` or `volumes`, or before `containers`."""
    text = _POD.read_text()
    for place, lines in more.items():
        head = _PLACES[place]
        assert text.count(f"\n{head}") == 1
        text = text.replace(f"\n{head}", f"\n{lines}{head}" if place == "containers" else f"\n{head}{lines}")
    (small.root / "templates/kubernetes").mkdir(parents=True)
    (small.root / "templates/kubernetes/pod.yaml.j2").write_text(text)


def test_a_volume_of_what_nobody_has_made_is_said_within_half_a_minute_and_put_back(small: Declared) -> None:
    small.ok("up")
    _own_template(
        small,
        mounts="            - {name: rules, mountPath: /rules}\n",
        volumes="        - {name: rules, configMap: {name: nobody-made}}\n",
    )
    small.write("two")
    began = time.monotonic()

    done = small.run("up")

    assert done.returncode == 1, done.stdout + done.stderr
    assert time.monotonic() - began < 60
    assert 'FailedMount: MountVolume.SetUp failed for volume "rules" : configmap "nobody-made" not found' in done.stderr
    assert "serves, proven again" in done.stderr
    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"
    small.kubectl("create", "configmap", "nobody-made", "--from-literal=a=b")
    small.ok("up")
    assert small.versions() == {"two"}


def test_a_secret_that_goes_meanwhile_is_named_as_the_nodes_name_it(small: Declared, faulty: FaultyApi) -> None:
    faulty.reach(small.kubeconfig)
    small.ok("up")
    small.kubectl("create", "secret", "generic", "web-secrets", "--from-literal=TOKEN=a")
    small.write("two", more=_SECRET)

    def gone() -> None:
        small.kubectl("delete", "secret", "web-secrets")

    faulty.plan = At(lambda request: request.writes and "/deployments/" in request.path, Before(gone))

    done = small.run("up", "--json")

    faulty.plan = passed
    assert done.returncode == 1, done.stdout + done.stderr
    *events, error = map(json.loads, done.stdout.splitlines())
    assert 'secret "web-secrets" not found' in error["what"]
    told = [(each["step"], each["detail"]) for each in events if each["event"] == "step" and each["program"] == "web"]
    assert [step for step, _ in told if step != "wait"] == ["ready"], "the old one, again"
    assert any(": ContainerCreating: FailedMount: " in detail for _, detail in told), told
    assert small.versions() == {"one"}
    assert "Secret web-secrets has no TOKEN" in small.run("up").stderr
    small.kubectl("create", "secret", "generic", "web-secrets", "--from-literal=TOKEN=a")
    small.ok("up")
    assert small.versions() == {"two"}


def test_of_a_container_that_comes_first_and_fails_the_last_lines_are_shown(small: Declared) -> None:
    small.ok("up")
    _own_template(small, containers=_FIRST.format(image=f'"{small.image}"'))
    small.write("two")

    done = small.run("up")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "| no key for the door" in done.stderr
    assert "CrashLoopBackOff, exit status 1" in done.stderr
    assert small.versions() == {"one"}
