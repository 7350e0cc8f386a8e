"""At two in the morning, with kubectl in the other hand: what is gone or shut is said, and what ends it works."""

from __future__ import annotations

import itertools
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import Answer, FaultyApi, Request, passed
from tests.cluster.running import Cluster
from tests.faults.hooks import until


def _logs_in(small: Declared, user: dict[str, Any]) -> None:
    config = json.loads(small.kubeconfig.read_text())
    config["users"][0]["user"] = user
    small.kubeconfig.write_text(json.dumps(config))


def _by(command: str, *words: str, **more: str) -> dict[str, Any]:
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": command,
            "args": [*words],
            "interactiveMode": "Never",
            **more,
        }
    }


# How a kubeconfig logs in; the exit status, and what is said.
SHUT: dict[str, tuple[dict[str, Any], int, str]] = {
    "a token that ran out": ({"token": "expired"}, 4, "does not know who asks"),
    "a program that is not there": (
        _by("aws-of-nowhere", installHint="Get it at example.net."),
        2,
        "logs in by aws-of-nowhere, which is not installed.\nGet it at example.net.",
    ),
    "a program that fails": (_by("sh", "-c", "echo your session ended >&2; exit 1"), 4, "your session ended"),
    "a program that says nothing of use": (
        _by("sh", "-c", "echo '{}'; echo ask ann >&2"),
        4,
        "no certificate.\nask ann",
    ),
    "a program that says no JSON": (_by("echo", "open https://login"), 4, "gives no token, and no certificate."),
    "a file that is not there": ({"tokenFile": "/nowhere/token"}, 2, "there is no token in /nowhere/token"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", SHUT)
def test_who_is_not_let_in_is_told_why(what: str, small: Declared) -> None:
    user, status, said = SHUT[what]
    _logs_in(small, user)

    for verb in ("status", "plan", "up"):
        done = small.run(verb)
        assert done.returncode == status, done.stderr
        assert said in done.stderr
        assert "next: " in done.stderr


@pytest.mark.slow
def test_a_program_that_logs_in_is_told_what_kubectl_tells_it(small: Declared, tmp_path: Path) -> None:
    """Beside the kubeconfig, in the version that programs of today speak."""
    token = json.loads(small.kubeconfig.read_text())["users"][0]["user"]["token"]
    version = "client.authentication.k8s.io/v1"
    answer = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": {"token": token}})
    program = tmp_path / "login"
    program.write_text(f"#!/bin/sh\necho \"$KUBERNETES_EXEC_INFO\" >> {tmp_path}/told\necho '{answer}'\n")
    program.chmod(0o755)
    _logs_in(small, _by("./login"))

    small.ok("up")

    assert small.versions() == {"one"}
    told = json.loads((tmp_path / "told").read_text().splitlines()[0])
    assert told["apiVersion"] == version
    assert told["kind"] == "ExecCredential"


@pytest.mark.slow
def test_a_program_that_warns_of_something_fails_no_check(small: Declared, tmp_path: Path) -> None:
    """kubectl shows what it says, before anything of its own."""
    token = json.loads(small.kubeconfig.read_text())["users"][0]["user"]["token"]
    status = {"status": {"token": token}}
    answer = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", **status})
    (tmp_path / "answer").write_text(answer)
    _logs_in(small, _by("sh", "-c", f"echo WARNING: your session ends soon >&2; cat {tmp_path}/answer"))

    small.ok("up")

    assert small.versions() == {"one"}
    assert small.run("smoke").returncode == 0


@pytest.mark.slow
def test_who_can_not_log_in_again_in_the_middle_is_told_so(small: Declared, tmp_path: Path, faulty: FaultyApi) -> None:
    """The first token ends while pods start; a watch is who notices."""
    token = json.loads(small.kubeconfig.read_text())["users"][0]["user"]["token"]
    status = {"status": {"token": token}}
    answer = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", **status})
    (tmp_path / "answer").write_text(answer)
    faulty.reach(small.kubeconfig)
    _logs_in(small, _by("sh", "-c", f"cat {tmp_path}/answer || echo your session ended >&2"))
    ended = itertools.count()

    def plan(request: Request) -> Answer | None:
        if request.watches and not next(ended):
            (tmp_path / "answer").unlink()
        return None if (tmp_path / "answer").exists() else Answer(401, "Unauthorized")

    faulty.plan = plan

    done = small.run("up")

    faulty.plan = passed
    assert done.returncode == 5, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "your session ended" in done.stderr
    _logs_in(small, {"token": token})
    small.free()
    assert small.event("status")["state"] == "interrupted"
    small.ok("up")


@pytest.mark.slow
def test_a_program_may_log_in_by_a_certificate(small: Declared, cluster: Cluster, tmp_path: Path) -> None:
    """As kubectl takes it; the administrator's here."""
    user = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))["users"][0]["user"]
    parts = {which: b64decode(user[f"client-{which}-data"]).decode() for which in ("certificate", "key")}
    status = {"clientCertificateData": parts["certificate"], "clientKeyData": parts["key"]}
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (tmp_path / "answer").write_text(json.dumps(answer))
    _logs_in(small, _by("cat", str(tmp_path / "answer")))

    small.ok("up")

    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"


@pytest.mark.slow
def test_a_release_that_somebody_deleted_is_said_and_kept_again(small: Declared) -> None:
    small.ok("up")
    id_ = small.event("status")["inventory"]["channels"]["stable"][:12]
    secret = f"deploy-{small.name}-{id_}"
    small.kubectl("delete", "secret", secret)

    status = small.run("status")

    assert status.returncode == 1
    assert f"Secret {secret}: it is gone, and nobody can go back to what stable is" in status.stdout
    small.ok("up")
    assert small.event("status")["state"] == "serving"
    assert secret in small.names("secret")
    small.kubectl("delete", "secret", secret)
    small.write("two")
    warned = small.run("up")
    assert warned.returncode == 0
    assert f"Secret {secret} is gone: should this release fail, nothing can be put back" in warned.stderr
    assert small.event("status")["state"] == "serving"


@pytest.mark.slow
def test_an_inventory_that_somebody_deleted_is_said_and_the_next_up_takes_all_back(small: Declared) -> None:
    small.ok("up")
    small.kubectl("delete", "configmap", f"deploy-{small.name}")

    status, down = small.run("status"), small.run("down")

    assert status.returncode == 1
    assert f"ConfigMap deploy-{small.name} is gone" in status.stdout
    assert "1 of 1 pods ready" in status.stdout
    assert down.returncode == 4, down.stdout + down.stderr
    assert "deploy up, then: deploy down" in down.stderr
    assert small.versions() == {"one"}
    small.ok("up")
    assert small.event("status")["state"] == "serving"
    small.ok("down")
    assert small.names("deployment.apps") == set()


@pytest.mark.slow
def test_a_lock_that_somebody_deleted_between_two_deploys_is_made_anew(small: Declared) -> None:
    small.ok("up")
    small.kubectl("delete", "lease", f"deploy-{small.name}")
    assert small.event("status")["state"] == "serving"
    small.write("two")
    small.ok("up")
    assert small.versions() == {"two"}


@pytest.mark.slow
def test_a_node_that_dies_is_named_and_what_came_meanwhile_is_put_back_once_it_is_there(
    small: Declared, cluster: Cluster
) -> None:
    """The only one there is: so nothing else can have its pods."""
    assert cluster.node
    small.ok("up")
    which = ("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].envFrom}")
    old = small.kubectl(*which)
    cluster.stop("kubelet")
    try:
        until(lambda: "its node, node-1, does not answer" in small.run("status").stdout, "the node is missed", 120)
        assert small.event("status")["state"] == "starting"
        small.write("two")
        with small.start("up") as process:
            until(lambda: small.kubectl(*which) != old, "the new one is applied", 60)
            until(lambda: small.kubectl(*which) == old, "the old one is, again", 120)
            cluster.node.start_kubelet()
            out, said = process.communicate(timeout=200)
        assert process.returncode == 1, out + said
        assert "no node takes it" in out + said
        assert "serves, proven again" in said
    finally:
        if not small.cluster.kubectl("get", "nodes").count(" Ready"):
            cluster.node.wait()
    assert small.versions() == {"one"}
    small.ok("up")
    assert small.versions() == {"two"}
    assert small.event("status")["state"] == "serving"
