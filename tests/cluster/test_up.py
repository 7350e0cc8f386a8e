"""`deploy` on a cluster with real pods: what is proven stays, what fails is put back, and nobody's work is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.declared import Declared
from tests.cluster.parts import KUBECTL
from tests.faults.hooks import until


def test_what_is_up_serves_and_bringing_it_again_changes_nothing(small: Declared) -> None:
    small.ok("up")

    assert small.versions() == {"one"}
    assert small.event("plan")["unchanged"]
    before = small.kubectl("get", "all,cm,secret", "-o", "jsonpath={.items[*].metadata.resourceVersion}")
    assert small.event("up")["outcome"] == "unchanged"
    assert small.kubectl("get", "all,cm,secret", "-o", "jsonpath={.items[*].metadata.resourceVersion}") == before
    assert small.event("status")["state"] == "serving"


@pytest.mark.slow
def test_a_plan_says_field_by_field_what_would_change_and_what_would_go(small: Declared) -> None:
    small.write(more='[services.other]\ncommand = ["/web", "${port}"]\nport = 8001\n')
    small.ok("up")
    small.write("two", replicas=2)

    said = small.ok("plan")

    assert "spec.replicas: 1 -> 2" in said
    assert "prune    Deployment other" in said
    assert "spec.template.spec.containers[web].envFrom[0].configMapRef.name" in said
    assert small.versions() == {"one"}
    small.ok("up")
    assert small.versions() == {"two"}
    assert small.names("deployment.apps") == {"web"}
    assert small.names("service") == {"web"}


# What is wrong with the new release, and what a person is told.
_CHECK = '[checks.whole]\nhttp = "http://web:8000/"\nbody = "never"\ntimeout = "3s"\n'
_BIG = '[services.big]\ncommand = ["/web"]\nresources = { memory = "900GiB" }\n'
BROKEN: dict[str, tuple[dict[str, str], list[str]]] = {
    "a check that fails": ({"more": _CHECK}, ["whole http", "the body does not match 'never'"]),
    "a probe that never passes": ({"env": ', STATUS = "500"'}, ["Deployment web"]),
    "a program that ends": ({"env": ', CRASH = "no such model"'}, ["CrashLoopBackOff", "| no such model"]),
    "an image that is nowhere": (
        {"image": "localhost:1/web@sha256:" + "a" * 64},
        ["ImagePullBackOff", "Deployment web"],
    ),
    "a pod that no node takes": ({"more": _BIG}, ["no node takes it"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_what_fails_is_put_back_and_says_why(what: str, small: Declared) -> None:
    small.ok("up")
    change, said = BROKEN[what]
    small.write("two", timeout="5s", **change)  # type: ignore[arg-type]

    done = small.run("up")

    assert done.returncode == 1, done.stderr
    assert "serves, proven again" in done.stderr
    for words in said:
        assert words in done.stderr + done.stdout, done.stderr
    assert small.versions() == {"one"}
    assert small.names("deployment.apps") == {"web"}
    assert small.event("status")["state"] == "serving"
    small.write("three")
    small.ok("up")  # needs no cleaning
    assert small.versions() == {"three"}


_STORE = """\
[services.store]
command = ["/web", "${port}"]
port = 8001
env = { LATE = "8s" }
probes = { readiness = { period = "1s" } }
check = { http = "/", interval = "100ms" }
drain = "0s"
stop_timeout = "1s"
"""


@pytest.mark.slow
def test_what_ends_until_that_which_it_comes_after_answers_is_waited_for(small: Declared) -> None:
    needs = ', NEEDS = "store:8001"'
    small.write(env=needs, more=f'after = ["store"]\n{_STORE}')

    done = small.run("up")

    assert done.returncode == 0, done.stderr
    assert "comes after store" in done.stderr
    assert small.versions() == {"one"}
    small.write("two", env=f'{needs}, CRASH = "no such model"', more=f'after = ["store"]\n{_STORE}')
    done = small.run("up")
    assert done.returncode == 1
    assert "CrashLoopBackOff" in done.stderr
    assert "| no such model" in done.stderr
    assert small.versions() == {"one"}


@pytest.mark.slow
def test_what_fails_where_nothing_was_leaves_nothing(small: Declared) -> None:
    small.write(env=', CRASH = "no"')

    done = small.run("up")

    assert done.returncode == 1
    assert "As before, nothing of it is there." in done.stderr
    assert small.names("deployment.apps") == set()


@pytest.mark.slow
def test_who_edits_is_named_and_nothing_is_taken_from_them_unasked(small: Declared) -> None:
    small.ok("up")
    edit = '{"spec": {"template": {"spec": {"containers": [{"name": "web", "command": ["/web", "8000", "7654"]}]}}}}'
    small.kubectl("patch", "deployment", "web", "--field-manager=ann", "-p", edit)
    small.kubectl("rollout", "status", "deployment/web")

    assert small.event("status")["state"] == "drifted"
    planned, refused = small.run("plan"), small.run("up")

    assert (planned.returncode, refused.returncode) == (4, 4)
    assert '"ann"' in planned.stdout
    assert "deploy up --take-over ann" in refused.stderr
    assert "7654" in small.kubectl("get", "deployment", "web", "-o", "yaml")
    for nobody in ("bob", "web"):  # which is the name of the container
        assert small.run("up", "--take-over", nobody).returncode == 4
    small.ok("up", "--take-over", "ann")
    assert "7654" not in small.kubectl("get", "deployment", "web", "-o", "yaml")


@pytest.mark.slow
def test_copies_that_somebody_else_counts_are_left_to_them(small: Declared) -> None:
    hand = "on_demand = true\n"
    small.write(more=f'[services.hand]\ncommand = ["/web", "9"]\n{hand}')
    small.ok("up")
    small.kubectl("scale", "deployment/hand", "--replicas=1")
    small.write("two", more=f'[services.hand]\ncommand = ["/web", "9"]\n{hand}')

    small.ok("up")

    assert small.kubectl("get", "deployment", "hand", "-o", "jsonpath={.spec.replicas}") == "1"


@pytest.mark.slow
def test_nothing_that_is_not_ours_is_changed_or_pruned(small: Declared) -> None:
    small.kubectl("create", "configmap", "theirs", "--from-literal=a=b")
    small.kubectl("create", "service", "clusterip", "web", "--tcp=1:1")

    refused = small.run("up")

    assert refused.returncode == 4
    assert "Service web: is there already, and not this project's" in refused.stderr
    small.kubectl("delete", "service", "web")
    small.ok("up")
    small.ok("down")
    assert "theirs" in small.names("configmap")
    assert small.names("deployment.apps") == set()
    assert small.cluster.kubectl("get", "namespace", small.name)


@pytest.mark.slow
def test_a_release_comes_back_by_its_id_and_history_tells_all(small: Declared) -> None:
    small.ok("up")
    first = small.event("status")["inventory"]["channels"]["stable"]
    small.write("two")
    small.ok("up")

    small.ok("rollback", first[:8])

    assert small.versions() == {"one"}
    small.ok("rollback")
    assert small.versions() == {"two"}
    told = [line for line in small.ok("history").splitlines() if "committed" in line]
    assert [line.split("  ")[2] for line in told] == ["up", "up", "rollback", "rollback"]


@pytest.mark.slow
def test_a_canary_runs_beside_and_promote_brings_exactly_that(small: Declared) -> None:
    small.ok("up")
    small.write("two")
    small.ok("up", "--channel", "canary")
    assert small.versions() == {"one"}
    assert small.names("deployment.apps") == {"web", "web-canary"}
    small.write("three")  # which is not what the canary proved

    small.ok("promote")

    assert small.versions() == {"two"}
    assert small.names("deployment.apps") == {"web"}


@pytest.mark.slow
def test_of_two_who_deploy_one_is_refused_by_the_others_name(small: Declared) -> None:
    small.write(path="/?for=3s")
    with small.start("up") as first:
        until(lambda: bool(small.kubectl("get", "lease", check=False)), "the first began")
        second = small.run("up")
        first.communicate()

    assert (first.returncode, second.returncode) == (0, 4)
    assert "is deploying" in second.stderr


@pytest.mark.slow
def test_a_laptop_that_dies_leaves_what_anybody_ends(small: Declared) -> None:
    """The lock ends by itself; until then nobody else begins."""
    small.ok("up")
    small.write("two", more=_CHECK.replace("3s", "90s"))
    with small.start("up") as laptop:
        until(lambda: "two" in small.versions(), "the new one runs, unproven", 60)
        laptop.send_signal(signal.SIGKILL)
        laptop.communicate()
    small.write("three")

    assert small.run("up").returncode == 4
    small.free()
    status = small.run("status")
    assert status.returncode == 1
    assert "did not end it" in status.stdout
    small.ok("up")
    assert small.versions() == {"three"}
    assert small.event("status")["state"] == "serving"


@pytest.mark.slow
def test_an_api_server_that_is_away_for_ten_seconds_is_waited_for(small: Declared) -> None:
    small.ok("up")
    small.write("two", path="/?for=2s")
    with small.start("up") as process:
        until(lambda: "two" in small.versions(), "the new one runs, unproven", 60)
        small.cluster.stop("kube-apiserver")
        time.sleep(10)
        small.cluster.start_api()
        _, said = process.communicate(timeout=120)

    assert process.returncode == 0, said
    assert small.versions() == {"two"}


@pytest.mark.slow
def test_where_kubectl_is_missing_nothing_is_applied_that_could_not_be_proven(small: Declared) -> None:
    small.ok("up")
    small.write("two")
    python = small.root / "python"  # beside which there is none
    python.symlink_to(Path(sys.executable).resolve())
    packages = os.pathsep.join(path for path in sys.path if path)
    environ = {**os.environ, "KUBECONFIG": str(small.kubeconfig), "PATH": str(small.root), "PYTHONPATH": packages}
    command = [str(python), "-m", "provision.cli", "up"]

    done = subprocess.run(command, cwd=small.root, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == 2, done.stdout + done.stderr
    assert "kubectl is not installed" in done.stderr
    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"


@pytest.mark.slow
def test_a_quota_that_is_full_stands_in_no_way_of_what_is_kept(small: Declared) -> None:
    small.ok("up")
    small.write("two")
    small.ok("up")
    small.kubectl("create", "quota", "small", "--hard=count/secrets=1")
    until(lambda: "count/secrets: 2/1" in small.kubectl("get", "quota"), "it is counted")

    assert small.event("up")["outcome"] == "unchanged"
    small.ok("rollback")

    assert small.versions() == {"one"}
    small.write("three")
    refused = small.run("up")
    assert refused.returncode == 4
    assert "exceeded quota" in refused.stderr
    assert "next: kubectl describe quota" in refused.stderr
    small.kubectl(*refused.stderr.split("next: kubectl ")[1].split(":")[0].split())


@pytest.mark.slow
def test_where_a_quota_has_no_room_for_a_claim_it_is_said_what_lists_them(small: Declared) -> None:
    small.kubectl("create", "quota", "small", "--hard=requests.storage=1Gi")
    until(lambda: "requests.storage: 0/1Gi" in small.kubectl("get", "quota"), "it is counted")
    small.write(more='volumes = { data = { path = "/data", size = "2GiB" } }\n')

    for done in (small.run("up"), small.run("plan")):
        assert done.returncode == 4, done.stderr
        assert "exceeded quota" in done.stdout + done.stderr
        assert "next: deploy model list" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "step"),
    [(["restart"], "kubectl rollout restart"), (["ssh"], "deploy exec"), (["up", "--host", "a"], "leave --host out")],
)
def test_what_is_for_hosts_is_refused_with_the_way_here(words: list[str], step: str, tmp_path: Path) -> None:
    nowhere = Declared(None, tmp_path, "small", "localhost/web@sha256:" + "a" * 64, tmp_path / "nowhere")  # type: ignore[arg-type]
    nowhere.write()

    refused = nowhere.run(*words)  # before a cluster is asked

    assert refused.returncode == 2
    assert step in refused.stderr


@pytest.mark.slow
def test_so_many_releases_are_kept_as_the_target_says_and_older_ones_are_refused_by_name(small: Declared) -> None:
    ids = []
    for version in ("one", "two", "three", "four", "five"):
        small.write(version)
        with (small.root / "deploy.toml").open("a") as file:
            file.write("keep = 2\n")
        small.ok("up")
        ids.append(small.event("status")["inventory"]["channels"]["stable"][:12])

    kept = {name for name in small.names("secret") if name.startswith(f"deploy-{small.name}-")}
    assert kept == {f"deploy-{small.name}-{id_}" for id_ in ids[-3:]}
    refused = small.run("rollback", ids[0])
    assert refused.returncode == 4
    assert "is not kept in the cluster any more" in refused.stderr
    small.ok("rollback")
    assert small.versions() == {"four"}


@pytest.mark.slow
def test_kubectl_knows_whose_objects_these_are_and_prunes_none_of_them(small: Declared) -> None:
    """By the ApplySet of KEP-3659, whose parent says which tool has it."""
    small.ok("up")
    node = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}})
    command = [KUBECTL, "--kubeconfig", small.cluster.kubeconfig, "--namespace", small.name, "apply", "-f", "-"]
    command += ["--server-side", "--prune", f"--applyset=configmap/deploy-{small.name}"]
    environ = {**os.environ, "KUBECTL_APPLYSET": "true"}

    done = subprocess.run(command, input=node, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert 'is managed by tooling "deploy"' in done.stderr, done.stderr
    assert small.versions() == {"one"}
    assert small.event("plan")["unchanged"]
