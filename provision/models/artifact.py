"""A model that is an artifact of a registry: a manifest whose layers are its files, each by its digest.

Such artifacts are pushed by several programs, which agree on little: OCI's annotation of a title names a layer's file
(ORAS; `deploy model push`), and media types that say gguf are of models (Docker's model runner). A layer is taken by
either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from provision.errors import UsageError
from provision.images.registry.documents import EMPTY_BYTES, Descriptor, ImageManifest, artifact
from provision.images.registry.reference import parse
from provision.models.access import repository
from provision.project.models import REGISTRY, Model

_TYPE = "application/vnd.docker.ai.gguf.v3"  # what Docker's model runner calls a GGUF file
_CHUNK = 1 << 20
TITLE = "org.opencontainers.image.title"


def files(name: str, model: Model, variables: Mapping[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """The digest of the manifest, and of each file where it is and its sha256.

    Raises:
        UsageError: there is no such artifact, or no model in it.
        DeployError: the registry can't be asked.
    """
    source = model.source[len(REGISTRY) :]
    wanted = parse(source)
    found = repository(source, variables)
    manifest = found.find(wanted.digest or wanted.tag or "latest")
    if manifest is None:
        raise UsageError(f"models.{name}: {model.source} is not there.", next_step=f"deploy image inspect {source}")
    layers = sorted(filter(_is_model, _layers(manifest)), key=lambda layer: layer.annotations.get(TITLE, ""))
    if not layers:
        raise UsageError(
            f"models.{name}: {model.source} is no model.",
            why=f"No layer of it is titled FILE.gguf ({TITLE}), or has a media type that says gguf.",
        )
    digests = [layer.digest.partition(":")[2] for layer in layers]
    if model.sha256 and digests != [model.sha256]:
        raise UsageError(
            f"models.{name}.sha256 is not the digest that the registry has.",
            next_step="correct it, or leave it out: models.lock keeps what the registry says",
        )
    address = f"{REGISTRY}{wanted.registry}/{wanted.repository}"
    return manifest.digest, [(f"{address}@sha256:{digest}", digest) for digest in digests]


def push(to: str, files: Sequence[tuple[str, Path, str]], variables: Mapping[str, str]) -> str:
    """Make an artifact of these files (name, where it is, sha256), under a tag; its digest.

    Raises:
        UsageError: `to` names no tag.
        DeployError: the registry does not take it.
    """
    name = to.removeprefix(REGISTRY)
    reference = parse(name)
    if not reference.tag:
        raise UsageError(f"{to} names no tag.", next_step=f"name one: {REGISTRY}REGISTRY/REPOSITORY:TAG")
    into = repository(name, variables, write=True)
    layers = []
    for title, path, sha256 in files:
        layer = Descriptor(_TYPE, f"sha256:{sha256}", path.stat().st_size, annotations={TITLE: title})
        into.send_blob(layer, _content(path))
        layers.append(layer)
    into.put_blob(EMPTY_BYTES)
    manifest = artifact(_TYPE, layers)
    into.put(manifest, reference.tag)
    return manifest.digest


def _content(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            yield part


def _layers(manifest: ImageManifest) -> list[Descriptor]:
    config = (manifest.document.get("config") or {}).get("digest")
    return [blob for blob in manifest.blobs if blob.digest != config]


def _is_model(layer: Descriptor) -> bool:
    title = layer.annotations.get(TITLE, "")
    return title.endswith(".gguf") if title else "gguf" in layer.media_type
