"""A model by its address, which a pod fetches before its server starts, and another one in its place."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from provision.native.model import write_demo_model
from tests.binaries import llama_server
from tests.cluster.declared import LLAMA, Declared
from tests.cluster.images import files
from tests.cluster.running import Cluster
from tests.cluster.test_models import completed
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
    cluster.node.keep(small.name, 2)

    for file in ("one", "two", "one"):
        sha256 = hashlib.sha256((served / f"{file}.gguf").read_bytes()).hexdigest()
        where = {"address": cluster.address, "port": _PORT, "file": file, "sha256": sha256}
        text = (_DECLARED + LLAMA).format(name=small.name, image=image, model="tiny", **where)
        (small.root / "deploy.toml").write_text(text)
        small.ok("model", "lock")
        small.ok("up")
        assert completed(small, cluster) == 4
        assert small.event("plan")["unchanged"]
    claims = {each for each in small.names("persistentvolumeclaim") if each.startswith("llama-model-")}
    assert len(claims) == 2  # the first one had its model yet

    cluster.stop("files")
    small.ok("rollback")
    assert completed(small, cluster) == 4
