"""A repository of a registry: manifests and blobs, by the OCI distribution specification 1.1.

Whatever is read is hashed and compared with what it is called, so neither a registry nor what stands between can pass
other bytes off; whatever is written is written as the bytes it was read as.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

from provision.connections import Answer, Body
from provision.errors import RegistryFailed
from provision.images.registry.access import Access
from provision.images.registry.credentials import find
from provision.images.registry.documents import MANIFEST_TYPES, Descriptor, ImageManifest, digest_of
from provision.images.registry.reference import Reference
from provision.images.registry.wire import Wire, joined

_LONGEST_MANIFEST = 4 << 20  # the specification's own bound
_LONGEST_DOCUMENT = 16 << 20  # a blob that is read whole: evidence, not a layer
_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}


class Repository:
    """What `reference.repository` holds."""

    def __init__(self, reference: Reference, access: Access) -> None:
        self.reference = reference.at("")
        self.access = access
        self._path = f"/v2/{reference.repository}"

    def __str__(self) -> str:
        return self.reference.name

    def find(self, wanted: str) -> ImageManifest | None:
        """The manifest under a tag or a digest, byte for byte; None if there is none.

        Raises:
            RegistryFailed: the bytes are not those of the digest, or are no manifest.
        """
        answer = self.access.request(
            "GET",
            f"{self._path}/manifests/{wanted}",
            doing=f"read {self}{_mark(wanted)}",
            accept={200, 404},
            headers=_ACCEPT,
        )
        content = answer.read(_LONGEST_MANIFEST)
        if answer.status == 404:
            return None
        digest = digest_of(content)
        for promised in (answer.headers.get("docker-content-digest"), wanted if ":" in wanted else None):
            if promised and promised != digest:
                raise RegistryFailed(
                    f"{self}{_mark(wanted)} was changed in flight.",
                    why=f"It is {promised}, and what arrived is {digest}.",
                    next_step="look at what stands between here and the registry: a proxy, a mirror, a cache",
                )
        found = ImageManifest(content, (answer.headers.get("content-type") or "").partition(";")[0].strip())
        if not found.is_object:
            raise RegistryFailed(f"{self}{_mark(wanted)} is not a manifest.")
        return found

    def get(self, wanted: str) -> ImageManifest:
        """The same, where it has to be.

        Raises:
            RegistryFailed: there is none, or as `find`.
        """
        found = self.find(wanted)
        if found is None:
            raise RegistryFailed(
                f"{self} has no {wanted}.",
                next_step=f"deploy image inspect {self}",
                details={"status": 404},
            )
        return found

    def digest(self, tag: str) -> str:
        """What `tag` points at, without reading it; empty if it is not there."""
        answer = self.access.request(
            "HEAD", f"{self._path}/manifests/{tag}", doing=f"look at {self}:{tag}", accept={200, 404}, headers=_ACCEPT
        )
        answer.finish()
        if answer.status == 404:
            return ""
        # The specification allows a registry to leave the header out.
        return answer.headers.get("docker-content-digest") or self.get(tag).digest

    def put(self, manifest: ImageManifest, tag: str = "") -> bool:
        """Store `manifest` under its digest, or under `tag`; whether the registry lists it with its subject itself.

        Raises:
            RegistryFailed: it was not taken, or what was taken is something else.
        """
        where = tag or manifest.digest
        answer = self.access.request(
            "PUT",
            f"{self._path}/manifests/{where}",
            doing=f"write {self}{_mark(where)}",
            accept={201},
            headers={"Content-Type": manifest.media_type},
            body=manifest.content,
        )
        answer.finish()
        stored = answer.headers.get("docker-content-digest")
        if stored and stored != manifest.digest:
            raise RegistryFailed(
                f"{self}{_mark(where)} was changed in flight.", why=f"{manifest.digest} was sent, {stored} was stored."
            )
        return bool(answer.headers.get("oci-subject"))

    def has_blob(self, digest: str) -> bool:
        answer = self.access.request(
            "HEAD", f"{self._path}/blobs/{digest}", doing=f"look for a blob in {self}", accept={200, 404}
        )
        answer.finish()
        return answer.status == 200

    def address(self, digest: str) -> tuple[str, str, float]:
        """Where a blob is, what has to be shown there, and when that runs out, by time.time().

        Raises:
            RegistryFailed: it is not there.
        """
        path = f"{self._path}/blobs/{digest}"
        self.access.request("HEAD", path, doing=f"look for a blob in {self}", accept={200}).finish()
        return self.access.address(path), *self.access.shown

    def blob(self, digest: str) -> bytes:
        """A small blob, whole.

        Raises:
            RegistryFailed: it is not there, or not those bytes.
        """
        content = self._open(digest).read(_LONGEST_DOCUMENT)
        if digest_of(content) != digest:
            raise self._wrong(digest)
        return content

    def content(self, descriptor: Descriptor) -> bytes:
        """What `descriptor` points at: from the descriptor itself, or from the blob.

        Raises:
            RegistryFailed: it is not there, or not those bytes.
        """
        if descriptor.data and digest_of(descriptor.data) == descriptor.digest:
            return descriptor.data
        return self.blob(descriptor.digest)

    def stream(self, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob of any size, in parts; the last comes only if all of them together are those bytes.

        Raises:
            RegistryFailed: it is not there, or not those bytes.
        """
        hashed, held = hashlib.sha256(), b""
        left = descriptor.size
        for part in self._open(descriptor.digest).chunks():
            left -= len(part)
            if left < 0:
                raise self._wrong(descriptor.digest)
            hashed.update(part)
            if held:
                yield held
            held = part
        if "sha256:" + hashed.hexdigest() != descriptor.digest:
            raise self._wrong(descriptor.digest)
        yield held

    def put_blob(self, content: bytes) -> None:
        """Store a small blob, if it is not there."""
        self.send_blob(Descriptor.of("", content), content)

    def send_blob(self, descriptor: Descriptor, body: bytes | Iterator[bytes]) -> str:
        """Store a blob; how: it was "there" already, or "sent"."""
        if self.has_blob(descriptor.digest):
            return "there"
        self._finish(self._begin(), descriptor, body)
        return "sent"

    def copy_blob(self, source: Repository, descriptor: Descriptor) -> str:
        """Bring a blob here; how: "there" already, "mounted" by the registry itself, or "streamed" through us."""
        if self.has_blob(descriptor.digest):
            return "there"
        mount = None
        if source.access.authority == self.access.authority:
            self.access.ask_also(f"repository:{source.reference.repository}:pull")
            mount = {"mount": descriptor.digest, "from": source.reference.repository}
        location = self._begin(mount)
        if not location:
            return "mounted"
        self._finish(location, descriptor, source.stream(descriptor))
        return "streamed"

    def _open(self, digest: str) -> Answer:
        return self.access.request("GET", f"{self._path}/blobs/{digest}", doing=f"read a blob of {self}", accept={200})

    def _begin(self, mount: Mapping[str, str] | None = None) -> str:
        """Start an upload: where it goes on, or empty where a mount made it needless."""
        path = f"{self._path}/blobs/uploads/"
        answer = self.access.request(
            "POST",
            f"{path}?{urlencode(mount)}" if mount else path,
            doing=f"write a blob to {self}",
            accept={201, 202} if mount else {202},
            headers={"Content-Length": "0"},
        )
        answer.finish()
        if answer.status == 201:
            return ""
        if "location" not in answer.headers:
            raise RegistryFailed(f"could not write a blob to {self}: the registry did not say where to.")
        return joined(path, answer.headers["location"])

    def _finish(self, location: str, descriptor: Descriptor, body: Body) -> None:
        joint = "&" if "?" in location else "?"
        answer = self.access.request(
            "PUT",
            f"{location}{joint}{urlencode({'digest': descriptor.digest})}",
            doing=f"write a blob to {self}",
            accept={201},
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)},
            body=body,
        )
        answer.finish()

    def _wrong(self, digest: str) -> RegistryFailed:
        return RegistryFailed(f"a blob of {self} was changed in flight.", why=f"What arrived is not {digest}.")


def connect(
    reference: Reference, *, write: bool, own_token: bool = True, environ: Mapping[str, str] | None = None
) -> Repository:
    """The repository of `reference`; nothing is sent yet.

    Args:
        write: whether tokens are asked for that may push.
        own_token: whether `REGISTRY_TOKEN` is for this registry (`credentials.find`).

    Raises:
        UsageError: the credentials at hand are not usable.
    """
    credentials = find(reference.registry, own_token=own_token, environ=environ)
    scope = f"repository:{reference.repository}:{'pull,push' if write else 'pull'}"
    return Repository(reference, Access(Wire(reference.host, environ), credentials, [scope]))


def _mark(wanted: str) -> str:
    return f"@{wanted}" if ":" in wanted else f":{wanted}"
