"""Small images, put into a registry by the client itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from provision.images.promotion.history import History, read_history
from provision.images.promotion.signing import SigningKey
from provision.images.registry.documents import OCI_INDEX, OCI_MANIFEST, Descriptor, ImageManifest
from provision.images.registry.repository import Repository

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
KEY, STRANGER = (SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)) for seed in (1, 2))
_count = itertools.count()


def image(
    repository: Repository, tag: str = "", *, layer: bytes = b"", labels: Mapping[str, str] | None = None
) -> ImageManifest:
    """An image that no other test has; its bytes are not as this project would write them."""
    about = {"architecture": "amd64", "os": "linux", "number": next(_count), "config": {"Labels": dict(labels or {})}}
    config = json.dumps(about).encode()
    layer = layer or b"layer of " + config
    for blob in (config, layer):
        repository.put_blob(blob)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor.of(CONFIG, config).as_json(),
        "layers": [Descriptor.of(LAYER, layer).as_json()],
    }
    made = ImageManifest(json.dumps(document, indent=3).encode() + b"\n ", OCI_MANIFEST)
    repository.put(made, tag)
    return made


def index(repository: Repository, tag: str = "") -> ImageManifest:
    """An image for two architectures."""
    parts = [
        {**image(repository).descriptor.as_json(), "platform": {"os": "linux", "architecture": architecture}}
        for architecture in ("amd64", "arm64")
    ]
    for part in parts:
        del part["artifactType"]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": parts}
    made = ImageManifest(json.dumps(document, indent=1).encode(), OCI_INDEX)
    repository.put(made, tag)
    return made


def recorded(repository: Repository, channel: str = "stable") -> History:
    """What KEY signed of a channel."""
    return read_history(repository, channel, [KEY.public])


def private_pem(key: SigningKey) -> str:
    return key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: SigningKey) -> bytes:
    return key.public.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def delete(repository: Repository, digest: str) -> None:
    """The manifest, and its entry where there is a list of them: what a tidy attacker does."""
    path = f"/v2/{repository.reference.repository}/manifests/{digest}"
    repository.access.request("DELETE", path, doing="delete", accept={202}).finish()


def unlist(repository: Repository, made: ImageManifest, digest: str) -> None:
    tag = made.digest.replace(":", "-")
    if index := repository.find(tag):
        left = [item for item in index.document["manifests"] if item["digest"] != digest]
        repository.put(ImageManifest.write({**index.document, "manifests": left}), tag)


def take_away(repository: Repository, made: ImageManifest, digest: str) -> None:
    unlist(repository, made, digest)
    delete(repository, digest)
