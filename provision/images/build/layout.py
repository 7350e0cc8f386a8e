"""From what a builder saved to an OCI image layout whose digest depends on nothing but its content.

OCI image specification 1.1, "Image OciLayout": `oci-layout`, `index.json` and `blobs/sha256/HEX`. Any registry client
pushes such a folder as it is, so the digest that was built is the digest that is published.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from provision.errors import DeployError
from provision.images.build.layers import Layer, keep, rewrite
from provision.images.registry.documents import OCI_INDEX, OCI_MANIFEST, Descriptor, ImageManifest, digest_of
from provision.images.registry.layout import ImageFolder

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
# What a container is started with, and nothing that says who built it (OCI image specification, "Image Configuration";
# Healthcheck is Docker's, which engines read from there).
_SETTINGS = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "StopSignal", "User", "Volumes", "WorkingDir")


class OciLayout(ImageFolder):
    """One that was built here: of one platform."""

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.blob(self.config_digest).read_bytes())
        return found

    @property
    def config_digest(self) -> str:
        """What an engine calls the image."""
        return str(self.manifest.document["config"]["digest"])

    @property
    def bytes_(self) -> int:
        """What has to be downloaded by who has nothing of it."""
        return len(self.manifest.content) + sum(blob.size for blob in self.manifest.blobs)

    def save(self, archive: Path, name: str) -> None:
        """Write the image as `docker load` takes it, under `name`."""
        layers = [layer["digest"] for layer in self.manifest.document["layers"]]
        names = {digest: f"{digest.removeprefix('sha256:')}.tar.gz" for digest in layers}
        entry = {"Config": "config.json", "RepoTags": [name], "Layers": [names[digest] for digest in layers]}
        index = archive.with_suffix(".manifest")
        index.write_text(json.dumps([entry]), encoding="utf-8")
        with tarfile.open(archive, "w") as written:
            written.add(index, "manifest.json")
            written.add(self.blob(self.config_digest), "config.json")
            for digest, file in names.items():
                written.add(self.blob(digest), file)
        index.unlink()


def write(
    saved: Path,
    folder: Path,
    *,
    base: Sequence[str],
    labels: Mapping[str, str],
    epoch: int,
    cache: Path,
) -> OciLayout:
    """Write the image in the archive `saved` (of `docker save`) anew, in place of what `folder` held.

    Args:
        base: the diff ids of the layers that belong to the base, which stay as they are.
        labels: the image's, in place of what builders and bases say of themselves.
        epoch: seconds since 1970, the time of everything in it.
        cache: where compressed layers are kept.

    Raises:
        DeployError: the archive is not one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    try:
        with tarfile.open(saved) as archive:
            (entry,) = json.loads(_member(archive, "manifest.json").read())
            built = json.loads(_member(archive, entry["Config"]).read())
            diff_ids = built["rootfs"]["diff_ids"]
            layers = [
                keep(_member(archive, file), diff_id, blobs, cache)
                if diff_id in base
                else rewrite(_member(archive, file), blobs, cache, epoch)
                for file, diff_id in zip(entry["Layers"], diff_ids, strict=True)
            ]
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise DeployError(
            "the builder left no image that can be read.", why=f"{type(error).__name__}: {error}"
        ) from None
    config = _put(blobs, _json(_config(built, layers, labels, epoch)))
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(_CONFIG_TYPE, *config).as_json(),
        "layers": [Descriptor(_LAYER_TYPE, layer.digest, layer.size).as_json() for layer in layers],
    }
    manifest = ImageManifest.write(document)
    _put(blobs, manifest.content)
    platform = {key: built[key] for key in ("os", "architecture", "variant") if built.get(key)}
    (folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    entry = {"mediaType": OCI_MANIFEST, "digest": manifest.digest, "size": len(manifest.content), "platform": platform}
    (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}))
    return OciLayout(folder)


def _config(built: dict[str, Any], layers: list[Layer], labels: Mapping[str, str], epoch: int) -> dict[str, Any]:
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    settings = {key: built["config"][key] for key in _SETTINGS if built["config"].get(key)}
    return {
        **{key: built[key] for key in ("architecture", "os", "variant") if built.get(key)},
        "created": created,
        "config": {**settings, "Labels": dict(labels)},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": "deploy image build"} for _ in layers],
    }


def _member(archive: tarfile.TarFile, name: str) -> Any:
    found = archive.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found


def _put(blobs: Path, content: bytes) -> tuple[str, int]:
    digest = digest_of(content)
    (blobs / digest.removeprefix("sha256:")).write_bytes(content)
    return digest, len(content)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
