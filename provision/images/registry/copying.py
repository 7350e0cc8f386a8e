"""An image from one repository to another: its bytes as they are, and all that points at it.

What points comes after what it points at, the image itself last. So a copy that breaks off leaves nothing that could be
taken for the image, and the next one goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from provision.images.registry.documents import ImageManifest
from provision.images.registry.referrers import attach, referrers
from provision.images.registry.repository import Repository

OnEvent = Callable[[Mapping[str, Any]], None]


def copy_image(source: Repository, target: Repository, image: ImageManifest, on_event: OnEvent) -> None:
    """Bring `image` to `target` under its digest: blobs mounted or streamed, an index with all its platforms, evidence
    and whatever else points at them.

    Raises:
        RegistryFailed, Refused: one of the two registries did not take part.
    """
    for child in image.children:
        copy_image(source, target, source.get(child.digest), on_event)
    _copy(source, target, image, on_event)
    target.put(image)
    for item in referrers(source, image.digest):
        # What a registry lists and lost cannot be copied, and is not missed: it counts nowhere.
        if artifact := source.find(item.digest):
            _copy(source, target, artifact, on_event)
            attach(target, artifact)


def _copy(source: Repository, target: Repository, manifest: ImageManifest, on_event: OnEvent) -> None:
    for blob in manifest.blobs:
        how = target.copy_blob(source, blob)
        on_event({"event": "blob", "digest": blob.digest, "bytes": blob.size, "how": how})
