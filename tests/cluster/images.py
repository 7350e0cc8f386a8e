"""Images of few files, as `ctr images import` reads them (OCI image layout), made without an engine or registry."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

_USER = "10001"  # as pods of ours run


def archive(name: str, files: Mapping[str, Path], out: Path) -> str:
    """Write an image of nothing but `files`, by their paths in it, the first of which it runs; its digest.

    Args:
        name: with a registry's part and a tag, such as `localhost/web:1`.
    """
    layer = _tar({path: file.read_bytes() for path, file in files.items()})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{next(iter(files))}"], "User": _USER},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    kind = "application/vnd.oci.image"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": _described(config, f"{kind}.config.v1+json"),
            "layers": [_described(layer, f"{kind}.layer.v1.tar")],
        }
    ).encode()
    described = {**_described(manifest, f"{kind}.manifest.v1+json"), "annotations": {"io.containerd.image.name": name}}
    blobs = {f"blobs/sha256/{_digest(blob)[7:]}": blob for blob in (layer, config, manifest)}
    index = json.dumps({"schemaVersion": 2, "manifests": [described]}).encode()
    out.write_bytes(_tar({"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": index, **blobs}))
    return _digest(manifest)


def _described(blob: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _tar(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return written.getvalue()
