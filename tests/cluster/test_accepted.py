"""Everything that `deploy render kubernetes` writes, asked of a real API server under the restricted profile."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.cli.main import main
from provision.manifests.kubernetes import render_kubernetes
from provision.manifests.kubernetes.faults import faults
from provision.manifests.kubernetes.objects import Object
from provision.native.model import write_demo_model
from tests.cluster.parts import KUBECTL
from tests.cluster.running import Cluster
from tests.manifests.kubernetes.projects import CRES
from tests.manifests.presets.renders import reviewed, split
from tests.models.conftest import serving

_EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLES = ("minimal", "model", "rlm-runtime", "rollout-server", "vast-stack")
_MODEL = "Qwen/Qwen2.5-0.5B-Instruct-GGUF", "qwen2.5-0.5b-instruct-q4_k_m.gguf"  # of the second, by its address
PROJECTS = {**reviewed("kubernetes"), "golden": render_kubernetes(CRES)}
# A pod of it is given a Docker Engine, which the restricted profile forbids; its namespace says so.
PRIVILEGED = "rlm-docker"
MANAGER = ("--server-side", "--field-manager=deploy")


@pytest.fixture(scope="module")
def applied(api_server: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every overlay of every project in one file, as kustomize builds it, applied once."""
    folder = tmp_path_factory.mktemp("overlays")
    write_demo_model(folder / "demo.gguf")
    with serving(folder / "hub") as hub, pytest.MonkeyPatch.context() as environ:
        hub.put(*_MODEL, (folder / "demo.gguf").read_bytes())
        environ.setenv("HF_ENDPOINT", hub.url)
        environ.setenv("HF_HOME", str(folder / "hf"))
        examples = {f"example-{name}": example(name, tmp_path_factory.mktemp(name)) for name in EXAMPLES}
    for project, files in {**PROJECTS, **examples}.items():
        for name, text in files.items():
            (folder / project / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / project / name).write_text(text)
    overlays = sorted(str(path.relative_to(folder)) for path in folder.glob("*/overlays/*"))
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": overlays}))
    everything = folder / "everything.yaml"
    everything.write_text(api_server.kubectl("kustomize", str(folder)))
    api_server.kubectl("apply", *MANAGER, "-f", str(everything))
    return everything


def example(name: str, folder: Path) -> dict[str, str]:
    """What is rendered of it, in namespaces of its own: presets are tried in projects of the same names."""
    declared = (_EXAMPLES / name / "deploy.toml").read_text()
    renamed = re.sub(r'(?m)^name = ".*"$', f'name = "example-{name}"', declared, count=1)
    (folder / "deploy.toml").write_text(renamed)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as written:
        if "[models." in declared:
            assert main(["model", "lock"]) == 0
            written.truncate(written.seek(0))
        assert main(["render", "kubernetes"]) == 0
    return split(written.getvalue())


def test_every_example_is_asked_about() -> None:
    assert {*EXAMPLES} == {file.parent.name for file in _EXAMPLES.glob("*/deploy.toml")}


def objects(everything: Path) -> list[Object]:
    return [Object("", each) for each in yaml.safe_load_all(everything.read_text())]


@pytest.mark.parametrize("how", [MANAGER, pytest.param((), marks=pytest.mark.slow)], ids=["by us", "by people"])
def test_everything_is_accepted_and_applying_it_again_would_change_nothing(
    how: tuple[str, ...], api_server: Cluster, applied: Path
) -> None:
    command = [KUBECTL, "--kubeconfig", api_server.kubeconfig, "diff", *how, "-f", applied]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_every_pod_is_admitted_under_the_profile_of_its_namespace(api_server: Cluster, applied: Path) -> None:
    levels = {
        each.name: each.labels["pod-security.kubernetes.io/enforce"]
        for each in objects(applied)
        if each.kind == "Namespace"
    }
    assert {name for name, level in levels.items() if level != "restricted"} == {PRIVILEGED, f"{PRIVILEGED}-staging"}
    pods = [pod_of(each) for each in objects(applied) if each.pod]
    assert len(pods) > 2 * (len(PROJECTS) + len(EXAMPLES))
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
    said = api_server.kubectl("create", "--dry-run=server", "-f", "-", text=text)
    assert said.count("created") == len(pods)


def pod_of(each: Object) -> dict[str, Any]:
    """The pod that a controller would make."""
    assert each.pod
    metadata = {**each.pod["metadata"], "name": each.name, "namespace": each.at("metadata", "namespace")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": each.pod["spec"]}


def container(body: dict[str, Any]) -> dict[str, Any]:
    return body["spec"]["template"]["spec"]["containers"][0]  # type: ignore[no-any-return]


# What is broken; of which kind; what the server says. The last two make no pod, and the server takes what would.
BAD: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "a wrong type": ("Deployment", lambda b: b["spec"].update(progressDeadlineSeconds="ten"), "expected numeric"),
    "an unknown field": ("Deployment", lambda b: b["spec"].update(replica=1), "field not declared in schema"),
    "a removed API version": (
        "HorizontalPodAutoscaler",
        lambda b: b.update(apiVersion="autoscaling/v2beta2"),
        "no matches for kind",
    ),
    "fewer copies at most than at least": (
        "HorizontalPodAutoscaler",
        lambda b: b["spec"].update(minReplicas=30),
        "maxReplicas",
    ),
    "a budget with both limits": ("PodDisruptionBudget", lambda b: b["spec"].update(minAvailable=1), "cannot be both"),
    "a selector that misses its labels": (
        "Deployment",
        lambda b: b["spec"]["selector"].update(matchLabels={"a": "b"}),
        "does not match template",
    ),
    "more asked for than allowed": (
        "Deployment",
        lambda b: container(b)["resources"]["requests"].update(memory="50Gi"),
        "must be less than or equal",
    ),
    "a bad name of a port": (
        "Deployment",
        lambda b: container(b)["ports"][0].update(name="Main_Port"),
        "alpha-numeric",
    ),
    "a port beyond the last": (
        "Deployment",
        lambda b: container(b)["ports"][0].update(containerPort=99999),
        "between 1 and 65535",
    ),
    "a bad name": ("Deployment", lambda b: b["metadata"].update(name="Fast_API"), "lowercase RFC 1123"),
    "a privileged pod": ("Deployment", lambda b: container(b)["securityContext"].update(privileged=True), "privileged"),
    "a pod of root": (
        "Deployment",
        lambda b: b["spec"]["template"]["spec"]["securityContext"].update(runAsUser=0),
        "runAsUser=0",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_the_server_refuses_our_own_rules_refuse_first(what: str, api_server: Cluster, applied: Path) -> None:
    kind, change, said = BAD[what]
    whole = [
        each
        for each in objects(applied)
        if each.at("metadata", "namespace") == "cres"
        and each.labels.get("app.kubernetes.io/name") == "fastapi"
        and each.labels.get("channel") == "stable"
    ]
    (broken,) = [each for each in whole if each.kind == kind]
    change(broken.body)

    asked = pod_of(broken) if what in ("a privileged pod", "a pod of root") else broken.body
    command = [KUBECTL, "--kubeconfig", api_server.kubeconfig, "apply", "--server-side", "--dry-run=server"]
    command += ["--field-manager=bad", "--force-conflicts", "-f", "-"]
    refused = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert said in refused.stderr
    assert faults(whole)
