"""What registries keep: manifests by their exact bytes, and descriptors that point at them.

OCI image specification 1.1. A digest is taken over bytes, so a manifest stays the bytes that arrived; it is read as
JSON to follow what it points at and never written again from what was read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY_BYTES = b"{}"
MANIFEST_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Descriptor:
    """A pointer to content: what it is, which bytes, how many."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Descriptor:
        """Of its JSON form.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        return cls(
            str(value["mediaType"]),
            str(value["digest"]),
            int(value["size"]),
            str(value.get("artifactType", "")),
            dict(value.get("annotations") or {}),
        )

    @classmethod
    def of(cls, media_type: str, content: bytes, annotations: Mapping[str, str] | None = None) -> Descriptor:
        return cls(media_type, digest_of(content), len(content), annotations=annotations or {})

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return value


@dataclass(frozen=True)
class Manifest:
    """The bytes of a manifest or an index, and the type it was served as."""

    content: bytes
    media_type: str

    @cached_property
    def digest(self) -> str:
        return digest_of(self.content)

    @cached_property
    def document(self) -> dict[str, Any]:
        """What it says. It is an object: `Repository` refuses others when they arrive."""
        value = json.loads(self.content)
        assert isinstance(value, dict)  # noqa: S101
        return value

    @property
    def descriptor(self) -> Descriptor:
        config = self.document.get("config") or {}
        return Descriptor(
            self.media_type,
            self.digest,
            len(self.content),
            str(self.document.get("artifactType") or config.get("mediaType") or ""),
            dict(self.document.get("annotations") or {}),
        )

    @property
    def children(self) -> list[Descriptor]:
        """The manifests that an index points at."""
        return [Descriptor.read(item) for item in self.document.get("manifests", [])]

    @property
    def blobs(self) -> list[Descriptor]:
        """Config and layers, each once; not the layers that registries may not hold (they have addresses elsewhere)."""
        found = {item["digest"]: item for item in self._pointers() if not item.get("urls")}
        return [Descriptor.read(item) for item in found.values()]

    def _pointers(self) -> Iterator[dict[str, Any]]:
        if self.document.get("config"):
            yield self.document["config"]
        yield from self.document.get("layers", [])

    @classmethod
    def write(cls, document: Mapping[str, Any]) -> Manifest:
        """A manifest of our own making: the same document gives the same bytes."""
        content = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return cls(content, str(document["mediaType"]))


def artifact(
    artifact_type: str,
    layers: list[Descriptor],
    *,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """A manifest for something that is no image, as the specification's "artifact" guidance wants it."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": Descriptor.of(EMPTY, EMPTY_BYTES).as_json(),
        "layers": [layer.as_json() for layer in layers],
    }
    if subject is not None:
        document["subject"] = {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size}
    if annotations:
        document["annotations"] = dict(annotations)
    return Manifest.write(document)
