"""An image in a folder, as builders leave it: `oci-layout`, `index.json`, `blobs/sha256/HEX`.

OCI image specification 1.1, "Image Layout". A registry hashes the blobs that are sent to it; manifests are hashed here,
because what they point at is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from provision.connections import CHUNK
from provision.errors import UsageError
from provision.images.registry.documents import Descriptor, ImageManifest, Malformed


@dataclass(frozen=True)
class ImageFolder:
    """One image, of one platform or of several."""

    folder: Path

    @cached_property
    def manifest(self) -> ImageManifest:
        """The image itself.

        Raises:
            UsageError: the folder holds none, or more than one.
        """
        try:
            index = ImageManifest((self.folder / "index.json").read_bytes(), "")
            if not index.is_object:
                raise ValueError("index.json is not an object")
            held = index.children
        except (OSError, ValueError, Malformed) as error:
            why = str(getattr(error, "strerror", None) or error)
            raise UsageError(
                f"{self.folder} is not an OCI image layout.", why=why, next_step="deploy image build NAME"
            ) from None
        if len(held) != 1:
            raise UsageError(f"{self.folder} holds {len(held)} images, and one is expected.")
        return self.child(held[0])

    def child(self, descriptor: Descriptor) -> ImageManifest:
        """An image or an index that the image points at.

        Raises:
            UsageError: it is not there, or not those bytes.
        """
        try:
            found = ImageManifest(self.blob(descriptor.digest).read_bytes(), descriptor.media_type)
        except OSError as error:
            raise self._broken(descriptor.digest, str(error.strerror)) from None
        if found.digest != descriptor.digest or not found.is_object:
            raise self._broken(descriptor.digest, "Its content is something else.")
        return found

    def stream(self, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob, in parts.

        Raises:
            UsageError: it is not there.
        """
        try:
            with self.blob(descriptor.digest).open("rb") as blob:
                while part := blob.read(CHUNK):
                    yield part
        except OSError as error:
            raise self._broken(descriptor.digest, str(error.strerror)) from None

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _broken(self, digest: str, why: str) -> UsageError:
        return UsageError(f"{self.folder} lacks {digest}.", why=why, next_step="build the image again")
