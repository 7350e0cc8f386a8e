"""The registry with the referrers route, judged by clients and rules that are not ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import urllib3

from provision.images.registry.documents import (
    EMPTY_BYTES,
    OCI_MANIFEST,
    Descriptor,
    ImageManifest,
    artifact,
    digest_of,
)
from provision.images.registry.repository import Repository
from tests.images.make import image
from tests.images.registry import Registry

pytestmark = pytest.mark.registry("referrers route")


def skopeo(*words: str) -> str:
    return subprocess.run(["skopeo", *words], check=True, capture_output=True, text=True).stdout


def test_skopeo_brings_an_image_there_and_back_with_its_digest(plain: Registry, name: str, tmp_path: Path) -> None:
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    parts = [json.dumps(config).encode()]
    blobs = tmp_path / "oci" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor.of("application/vnd.oci.image.config.v1+json", parts[0]).as_json(),
        "layers": [],
    }
    made = ImageManifest.write(document)
    for content in (*parts, made.content):
        (blobs / digest_of(content).removeprefix("sha256:")).write_bytes(content)
    index = {"schemaVersion": 2, "manifests": [made.descriptor.as_json()]}
    (tmp_path / "oci" / "index.json").write_text(json.dumps(index))
    (tmp_path / "oci" / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    there = f"docker://{plain.authority}/{name}"

    skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/oci", f"{there}:1")
    skopeo("copy", "--src-tls-verify=false", f"{there}@{made.digest}", f"oci:{tmp_path}/back:1")

    assert json.loads(skopeo("list-tags", "--tls-verify=false", there))["Tags"] == ["1"]
    (back,) = json.loads((tmp_path / "back" / "index.json").read_text())["manifests"]
    assert back["digest"] == made.digest


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v2/{name}/manifests/none", b"", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/{name}/blobs/sha256:" + "0" * 64, b"", 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/{name}/referrers/latest", b"", 400, "DIGEST_INVALID"),
        ("PUT", "/v2/{name}/manifests/1", b"no JSON", 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/{name}/manifests/sha256:" + "0" * 64, b"{}", 400, "DIGEST_INVALID"),
        ("PUT", "/v2/{name}/manifests/1", b'{"layers": [{"digest": "sha256:0"}]}', 400, "MANIFEST_BLOB_UNKNOWN"),
        ("POST", "/v2/{name}/blobs/uploads/?digest=sha256:" + "0" * 64, b"x", 400, "DIGEST_INVALID"),
        ("PUT", "/v2/{name}/blobs/uploads/none?digest=x", b"x", 404, "BLOB_UPLOAD_UNKNOWN"),
    ],
)
def test_what_the_specification_refuses_is_refused_with_its_code(
    method: str, path: str, body: bytes, status: int, code: str, plain: Registry, name: str
) -> None:
    answer = urllib3.request(method, f"http://{plain.authority}{path.format(name=name)}", body=body)

    assert (answer.status, answer.json()["errors"][0]["code"]) == (status, code)


def test_what_points_at_nothing_that_is_there_is_kept_and_listed(plain: Registry, repository: Repository) -> None:
    """Specification, "Pushing Manifests with Subject": the subject may come later, or never."""
    gone = image(repository).descriptor
    later = Descriptor(gone.media_type, digest_of(b"not there"), gone.size)
    repository.put_blob(EMPTY_BYTES)
    repository.put(artifact("text/notes", [], subject=later, annotations={"by": "ada"}))

    url = f"http://{plain.authority}/v2/{repository.reference.repository}/referrers/{later.digest}"
    answer = urllib3.request("GET", url, fields={"artifactType": "text/notes"})
    other = urllib3.request("GET", url, fields={"artifactType": "text/other"})

    assert answer.headers["OCI-Filters-Applied"] == other.headers["OCI-Filters-Applied"] == "artifactType"
    assert [item["annotations"] for item in answer.json()["manifests"]] == [{"by": "ada"}]
    assert other.json()["manifests"] == []
