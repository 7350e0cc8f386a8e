"""A model by its address, which a pod fetches before its server starts, and another one in its place."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.cluster.declared import LLAMA, Declared
from tests.cluster.images import files
from tests.cluster.running import Cluster
from tests.cluster.test_models import completed
from tests.faults.hooks import until
from tests.testbed.rootfs import debian

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
_PORT = 8090
# Ends as one process, and by the certificate that the cluster's address has.
_WEB = """\
daemon off;
master_process off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    server {{
        listen {at} ssl;
        ssl_certificate {pki}/server.crt;
        ssl_certificate_key {pki}/server.key;
        root {folder}/served;
    }}
}}
"""
_DECLARED = """\
[project]
name = "{name}"
image = "{image}"

[models.tiny]
source = "https://{address}:{port}/{file}.gguf"
sha256 = "{sha256}"

"""


def test_a_model_is_fetched_by_its_pod_and_one_of_another_size_takes_its_place(
    small: Declared, cluster: Cluster, tmp_path: Path
) -> None:
    """A claim keeps the size that it was made with, so each model has its own: a rollback fetches nothing."""
    served = tmp_path / "served"
    write_demo_model(served / "one.gguf")
    (served / "two.gguf").write_bytes((served / "one.gguf").read_bytes() + bytes(3 << 20))
    pki = cluster.disk / "pki"
    (tmp_path / "nginx.conf").write_text(_WEB.format(at=f"{cluster.address}:{_PORT}", pki=pki, folder=tmp_path))
    cluster.start("files", "-c", str(tmp_path / "nginx.conf"), file=Path("/usr/sbin/nginx"))
    there = ["curl", "-sf", "--cacert", str(pki / "ca.crt"), f"https://{cluster.address}:{_PORT}/one.gguf", "-r", "0-0"]
    cluster.until(lambda: not subprocess.run(there, capture_output=True, check=False).returncode, "files")
    small.environ["SSL_CERT_FILE"] = str(pki / "ca.crt")
    assert cluster.node
    trust = {"etc/ssl/certs/ca-certificates.crt": pki / "ca.crt"}
    program = {"build/bin/llama-server": llama_server(tmp_path / "native")}
    layers = [debian("fetching", ["curl", "libstdc++6"]), files({**program, **trust}, tmp_path / "layer.tar")]
    image = cluster.node.load_layers("localhost/fetched:1", layers)
    cluster.node.keep(small.name, 3)  # one is for what is fetched anew; who gave it by hand gives it once

    def declare(file: str) -> None:
        sha256 = hashlib.sha256((served / f"{file}.gguf").read_bytes()).hexdigest()
        where = {"address": cluster.address, "port": _PORT, "file": file, "sha256": sha256}
        text = (_DECLARED + LLAMA).format(name=small.name, image=image, model="tiny", **where)
        (small.root / "deploy.toml").write_text(text)
        small.ok("model", "lock")

    for file in ("one", "two", "one"):
        declare(file)
        small.ok("up")
        assert completed(small, cluster) == 4
        assert small.event("plan")["unchanged"]
    assert small.event("up")["outcome"] == "unchanged", "a claim that another release has is no difference"
    claims = {each for each in small.names("persistentvolumeclaim") if each.startswith("llama-model-")}
    assert len(claims) == 2  # the first one had its model yet

    cluster.stop("files")
    small.ok("rollback")
    assert completed(small, cluster) == 4

    cluster.start("files", "-c", str(tmp_path / "nginx.conf"), file=Path("/usr/sbin/nginx"))
    cluster.until(lambda: not subprocess.run(there, capture_output=True, check=False).returncode, "files")
    declare("two")
    _what_is_left_is_said_and_ended(small, claims)
    small.ok("up")
    assert completed(small, cluster) == 4


def _what_is_left_is_said_and_ended(small: Declared, claims: set[str]) -> None:
    """Two claims, each of a release; somebody deletes what the other one than stable's was."""
    serves = small.event("status")["inventory"]["channels"]["stable"]
    (used,) = {each["name"] for each in _listed(small) if each["channels"] == ["stable"]}
    (spare,) = claims - {used}
    assert small.ok("model", "prune") == "k8s: nothing to remove\n"
    kept = small.kubectl("get", "secret", "-l", f"deploy.bitnet/release-of={small.name}", "-o", "name").split()
    (gone,) = (each for each in kept if not each.endswith(serves[:12]))
    small.kubectl("delete", gone)
    for verb in ("status", "plan"):
        assert "models that no release has: 1 claim, " in small.run(verb).stdout
    pod = json.loads(small.kubectl("get", "pods", "-l", "app.kubernetes.io/name=llama", "-o", "json"))["items"][0]
    spec = pod["spec"] | {"initContainers": [], "nodeName": None}
    spec["containers"][0] |= {"command": ["sleep", "600"]}
    for volume in spec["volumes"]:
        if "persistentVolumeClaim" in volume:
            volume["persistentVolumeClaim"]["claimName"] = spare
    holder = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "holder"}, "spec": spec}
    small.kubectl("create", "-f", "-", text=json.dumps(holder))
    small.kubectl("wait", "pod/holder", "--for=condition=PodScheduled", "--timeout=60s")

    ended = small.ok("model", "prune", "--yes")

    assert f"k8s: {spare} ends once no pod uses it: holder\n" in ended
    assert f"in {spare}, ends once no pod uses it: holder\n" in small.ok("model", "list")
    assert small.ok("model", "prune") == "k8s: nothing to remove\n"
    small.kubectl("delete", "pod", "holder", "--grace-period=0", "--force")
    until(lambda: small.names("persistentvolumeclaim") == {used}, "the cluster ends it")
    small.ok("down")
    down = small.run("down")  # which says it whenever it is asked
    assert (down.returncode, f"fetched models stay in {used} (" in down.stderr) == (0, True)
    assert small.event("down")["outcome"] == "unchanged"
    assert small.event("status")["state"] == "nothing"
    asked = small.run("model", "prune", "--all")
    assert (asked.returncode, "next: deploy model prune --all --yes" in asked.stderr) == (4, True)
    assert used in asked.stdout
    assert small.names("persistentvolumeclaim") == {used}
    pruned = small.event("model", "prune", "--all", "--yes")
    assert [each["name"] for each in (*pruned["removed"], *pruned["ending"])] == [used]  # as long as its pod drains
    until(lambda: small.names("persistentvolumeclaim") == set(), "the cluster ends it")


def _listed(small: Declared) -> list[dict[str, Any]]:
    return [json.loads(line) for line in small.ok("model", "list", "--json").splitlines()]
