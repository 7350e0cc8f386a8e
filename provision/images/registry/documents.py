"""What registries keep: manifests by their exact bytes, and descriptors that point at them.

OCI image specification 1.1. A digest is taken over bytes, so a manifest stays the bytes that arrived; it is read as
JSON to follow what it points at and never written again from what was read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from provision.errors import RegistryFailed
from provision.project.image_names import DIGEST

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY_BYTES = b"{}"
CREATED = "org.opencontainers.image.created"  # an annotation
MANIFEST_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)


class Malformed(RegistryFailed):
    """A manifest that is JSON, and no manifest."""


def written_time(at: datetime) -> str:
    """How all records here write a time: in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def read_time(text: str) -> datetime:
    """A time that `written_time` wrote.

    Raises:
        TypeError, ValueError: it is none.
    """
    at = datetime.fromisoformat(text)
    if written_time(at) != text:
        raise ValueError(f"{text!r} is not a time as records write it")
    return at.astimezone(UTC)


def read_json(content: bytes | str) -> Any:
    """What comes from outside, as JSON.

    Raises:
        ValueError: it is none, or one within another without an end.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


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
    data: bytes = b""  # the content itself, where it is small: it saves a request

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Descriptor:
        """Of its JSON form.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        # It becomes part of addresses, and nothing here hashes otherwise.
        if not re.fullmatch(DIGEST, value["digest"]):
            raise ValueError(f"{value['digest']!r} is not a SHA-256 digest")
        if not isinstance(value["size"], int) or value["size"] < 0:
            raise ValueError(f"{value['size']!r} is not a size")
        return cls(
            str(value["mediaType"]),
            str(value["digest"]),
            value["size"],
            str(value.get("artifactType", "")),
            dict(value.get("annotations") or {}),
            base64.b64decode(value.get("data", ""), validate=True),
        )

    @classmethod
    def of(cls, media_type: str, content: bytes, *, embedded: bool = False) -> Descriptor:
        return cls(media_type, digest_of(content), len(content), data=content if embedded else b"")

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.data:
            value["data"] = base64.b64encode(self.data).decode()
        return value


class ImageManifest:
    """The bytes of a manifest or an index, and the type it was served as."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.content = content
        self.media_type = media_type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageManifest) and (self.content, self.media_type) == (other.content, other.media_type)

    def __hash__(self) -> int:
        return hash((self.content, self.media_type))

    @cached_property
    def digest(self) -> str:
        return digest_of(self.content)

    @property
    def is_object(self) -> bool:
        """Whether it is JSON of the only kind that a manifest can be; the rest may be read only then."""
        try:
            return isinstance(read_json(self.content), dict)
        except ValueError:
            return False

    @cached_property
    def document(self) -> dict[str, Any]:
        """What it says. It is an object: who reads manifests from outside refuses others when they arrive."""
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
        """The manifests that an index points at.

        Raises:
            Malformed: it says that in no way that can be followed.
        """
        return _descriptors(self.document.get("manifests") or [])

    @property
    def blobs(self) -> list[Descriptor]:
        """Config and layers, each once; not the layers that registries may not hold (they have addresses elsewhere).

        Raises:
            Malformed: as `children`.
        """
        config = [self.document["config"]] if "config" in self.document else []
        held = _descriptors(config) + _descriptors(self.document.get("layers") or [])
        return list({item.digest: item for item in held}.values())

    @classmethod
    def write(cls, document: Mapping[str, Any]) -> ImageManifest:
        """A manifest of our own making: the same document gives the same bytes."""
        content = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return cls(content, str(document["mediaType"]))


def _descriptors(values: list[Any]) -> list[Descriptor]:
    try:
        return [Descriptor.from_json(value) for value in values if not value.get("urls")]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Malformed("a manifest points at its content in a way that cannot be followed.", why=str(error)) from None


def artifact(
    artifact_type: str,
    layers: list[Descriptor],
    *,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> ImageManifest:
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
    return ImageManifest.write(document)
