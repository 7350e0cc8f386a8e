"""The verbs that look into a cluster, and what one needs first: each as on hosts, by the real command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster.declared import Declared
from tests.cluster.parts import KUBECTL
from tests.cluster.running import Cluster
from tests.faults.hooks import until

pytestmark = pytest.mark.slow


@pytest.fixture
def served(small: Declared) -> Declared:
    """Two lanes of one service."""
    small.ok("up")
    small.write("two")
    small.ok("up", "--channel", "canary")
    return small


def test_a_command_runs_in_a_ready_pod_of_the_lane_and_ends_as_it_does(served: Declared) -> None:
    """The image has one program, which ends with 2 where it is given no port."""
    stable = served.run("exec", "--", "/web")
    canary = served.run("exec", "--channel", "canary", "--", "/web")
    told = [json.loads(line) for line in served.run("exec", "--json", "--", "/web").stdout.splitlines()]

    assert (stable.returncode, stable.stdout) == (2, "begins, version one\n"), stable.stderr
    assert (canary.returncode, canary.stdout) == (2, "begins, version two\n")
    assert [(each["event"], each.get("text"), each.get("status")) for each in told] == [
        ("output", "begins, version one", None),
        ("result", None, 2),
    ]
    assert served.run("exec", "--", "/nowhere").returncode not in (0, 2)
    wrong = served.run("exec", "--service", "wbe", "--", "/web")
    assert wrong.returncode == 2
    assert 'Did you mean "web"?' in wrong.stderr
    served.kubectl("scale", "deployment/web", "--replicas=0")
    until(lambda: not served.versions(), "nobody is there")
    refused = served.run("exec", "--", "/web")
    assert refused.returncode == 4
    assert "no pod of web is ready" in refused.stderr


@pytest.mark.parametrize(("lane", "version"), [("stable", b"one"), ("canary", b"two")])
def test_a_tunnel_leads_to_a_pod_of_the_lane_until_it_is_ended(lane: str, version: bytes, served: Declared) -> None:
    with served.start("tunnel", "web", "--channel", lane, "--json") as process:
        assert process.stdout
        events = map(json.loads, process.stdout)
        url = next(event["url"] for event in events if event["event"] == "tunnel")

        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.read() == version
        process.send_signal(signal.SIGINT)

        assert process.wait(10) == 0
        with pytest.raises(OSError):
            urllib.request.urlopen(url, timeout=5)


def test_a_tunnel_whose_pod_goes_says_so_to_who_asks_next(served: Declared) -> None:
    """kubectl hears of it no earlier."""
    with served.start("tunnel", "web") as process:
        assert process.stdout
        url = process.stdout.readline().rpartition(" at ")[2].strip()
        served.kubectl("delete", "pod", "-l", "app.kubernetes.io/name=web", "--grace-period=0", "--force")

        def is_over() -> bool:
            with suppress(OSError), urllib.request.urlopen(url, timeout=5):
                pass
            return process.poll() is not None

        until(is_over, "the tunnel ends", 60)
        _, said = process.communicate(timeout=10)

    assert process.returncode == 1
    assert "the pod of web has ended, and its tunnel too." in said
    assert "next: deploy tunnel" in said


def test_smoke_says_what_the_checks_see_now_and_fails_where_they_do(served: Declared) -> None:
    assert "1 of 1 checks passed" in served.ok("smoke")
    assert "1 of 1 checks passed" in served.ok("smoke", "--channel", "canary")
    served.kubectl("scale", "deployment/web", "--replicas=0")
    until(lambda: not served.versions(), "nobody is there")

    failed = served.run("smoke")

    assert failed.returncode == 1
    assert "none of its pods is ready" in failed.stdout + failed.stderr
    assert served.run("smoke", "--channel", "canary").returncode == 0


def test_lines_are_those_of_the_lane_and_as_many_as_are_asked_for(served: Declared) -> None:
    assert "begins, version one" in served.ok("logs")
    canary = served.ok("logs", "web", "--channel", "canary")
    assert "begins, version two" in canary
    assert "version one" not in canary
    (line,) = served.ok("logs", "--lines", "1").splitlines()
    assert "asked for" in line
    told = [json.loads(each) for each in served.ok("logs", "--json").splitlines()]
    assert {each["service"] for each in told if each["event"] == "log"} == {"web"}
    wrong = served.run("logs", "wbe")
    assert wrong.returncode == 2
    assert 'Did you mean "web"?' in wrong.stderr


def test_history_names_who_and_what(served: Declared) -> None:
    entries = [json.loads(line) for line in served.ok("history", "--json").splitlines()]
    told = [(each["kind"], each["channel"], each["outcome"]) for each in entries if each["event"] == "history"]
    assert sorted(told) == [("up", "canary", "committed"), ("up", "stable", "committed")]
    assert "by " in served.ok("history")


@pytest.fixture
def nowhere(cluster: Cluster, image: str, tmp_path: Path) -> Iterator[Declared]:
    """A project whose namespace is not there, by an administrator's account."""
    kubeconfig = tmp_path / "kubeconfig"
    shutil.copy(cluster.kubeconfig, kubeconfig)
    made = Declared(cluster, tmp_path, "nowhere", image, kubeconfig)
    made.write()
    yield made
    cluster.kubectl("delete", "namespace", made.name, "--ignore-not-found", "--wait=false")


def test_a_namespace_is_made_where_it_is_to_be_and_kubectl_finds_nothing_to_do_after_an_up(nowhere: Declared) -> None:
    for verb in ("plan", "up"):
        refused = nowhere.run(verb)
        assert refused.returncode == 4
        assert "there is no namespace nowhere." in refused.stderr
        assert "kubectl create namespace nowhere, or create_namespace = true" in refused.stderr
    with (nowhere.root / "deploy.toml").open("a") as file:
        file.write("create_namespace = true\n")

    assert "create   Namespace nowhere" in nowhere.ok("plan")
    assert not nowhere.cluster.kubectl("get", "namespace", "nowhere", "--ignore-not-found")
    nowhere.ok("up")

    assert nowhere.versions() == {"one"}
    labels = json.loads(nowhere.cluster.kubectl("get", "namespace", "nowhere", "-o", "json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    nowhere.ok("render", "kubernetes", "--out", "rendered")
    for how in ([], ["--server-side"]):
        command = [KUBECTL, "--kubeconfig", nowhere.kubeconfig, "diff", *how, "-k", "rendered/overlays/production"]
        done = subprocess.run(command, cwd=nowhere.root, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    nowhere.ok("down")
    assert nowhere.cluster.kubectl("get", "namespace", "nowhere")
