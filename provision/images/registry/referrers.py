"""What points at an image: evidence, SBOMs, build records.

OCI distribution specification 1.1, "Listing Referrers": the referrers route, or else an index under the tag
`sha256-HEX`, which clients keep. Some registries have the route and lose what they list, so an empty list is not
believed until the tag was looked at too.
"""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote

from provision.errors import RegistryFailed
from provision.images.registry.documents import EMPTY_BYTES, OCI_INDEX, Descriptor, ImageManifest, read_json
from provision.images.registry.repository import Repository

_LONGEST_LIST = 4 << 20
_PAGES = 100
_MOST = 10_000  # a list of more is nobody's honest work, and as much of it is held in memory
_SECONDS = 300.0  # of all of them
_ATTEMPTS = 5
_LINK = re.compile(r"<([^<>]*)>\s*(;[^<,]*)")  # RFC 8288: the address, and what it is


def referrers(repository: Repository, digest: str, artifact_type: str = "") -> list[Descriptor]:
    """The manifests whose subject is `digest`, in the order of the list; of `artifact_type`, or all.

    Raises:
        RegistryFailed: the registry does not answer, or the list goes on and on.
    """
    found = _of_type(_by_route(repository, digest, artifact_type), artifact_type)
    return found or _of_type(_by_tag(repository, digest), artifact_type)


def attach(repository: Repository, artifact: ImageManifest) -> None:
    """Store `artifact`, whose blobs are there and whose subject it names, so that `referrers` finds it.

    Raises:
        RegistryFailed: it was not taken; or others write the list without end.
    """
    listed = repository.put(artifact)
    if not listed:
        _list_by_tag(repository, artifact)


def put_empty(repository: Repository) -> None:
    """Store the blob that every artifact has as its config."""
    repository.put_blob(EMPTY_BYTES)


def _of_type(found: list[Descriptor], artifact_type: str) -> list[Descriptor]:
    return [item for item in found if not artifact_type or item.artifact_type == artifact_type]


def _tag(digest: str) -> str:
    return digest.replace(":", "-")


def _by_route(repository: Repository, digest: str, artifact_type: str) -> list[Descriptor]:
    path = f"/v2/{repository.reference.repository}/referrers/{digest}"
    path += f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    found: list[Descriptor] = []
    until = time.monotonic() + _SECONDS
    for _ in range(_PAGES):
        # Whatever else a registry answers means that it has no such route, or none that works.
        answer = repository.access.request(
            "GET", path, doing=f"list what points at {digest}", accept=range(200, 600), headers={"Accept": OCI_INDEX}
        )
        content = answer.read(_LONGEST_LIST)
        if answer.status != 200:
            return []
        try:
            found += [Descriptor.from_json(item) for item in read_json(content)["manifests"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            return []
        links = _LINK.findall(answer.headers.get("link", ""))
        following = [link for link, about in links if re.search('rel="?next"?', about)]
        if not following:
            return found
        if len(found) > _MOST or time.monotonic() > until:
            break
        path = following[0]
    raise _endless(repository, digest)


def _by_tag(repository: Repository, digest: str) -> list[Descriptor]:
    index = repository.find(_tag(digest))
    found = index.children if index else []
    if len(found) > _MOST:
        raise _endless(repository, digest)
    return found


def _endless(repository: Repository, digest: str) -> RegistryFailed:
    return RegistryFailed(
        f"what points at {repository}@{digest} has no end that is waited for.",
        why=f"At most {_MOST:,} manifests are read, in {_PAGES} pages and {_SECONDS:.0f} s.",
        next_step="delete what is not yours, or build the image anew",
    )


def _list_by_tag(repository: Repository, artifact: ImageManifest) -> None:
    tag = _tag(artifact.document["subject"]["digest"])
    for _ in range(_ATTEMPTS):
        index = repository.find(tag)
        document: dict[str, Any] = index.document if index else {"schemaVersion": 2, "mediaType": OCI_INDEX}
        entries = document.get("manifests", [])
        if any(entry["digest"] == artifact.digest for entry in entries):
            return
        # The entries of others are passed on as they are.
        longer = ImageManifest.write({**document, "manifests": [*entries, artifact.descriptor.as_json()]})
        # There is no compare-and-swap, so the gap between look and write is kept short, and looked at again.
        if repository.digest(tag) == (index.digest if index else ""):
            repository.put(longer, tag)
    raise RegistryFailed(
        f"{artifact.digest} could not be listed under {repository}:{tag}.",
        why=f"Somebody else changed that list {_ATTEMPTS} times meanwhile.",
        next_step="try again",
    )
