"""Names of images, as people write them: `NAME[:TAG][@sha256:HEX]`.

Without a registry it is Docker Hub, whose official images live under `library/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from provision.errors import UsageError
from provision.project.image_names import DIGEST, REGISTRY, REPOSITORY, TAG

HUB = "docker.io"
_HUB_NAMES = {HUB, "index.docker.io", "registry-1.docker.io"}
_HUB_HOST = "registry-1.docker.io"

_REPOSITORY, _REGISTRY, _TAG, _DIGEST = map(re.compile, (REPOSITORY, REGISTRY, TAG, DIGEST))
_LONGEST_NAME = 255  # registry and repository together, as the distribution project counts


@dataclass(frozen=True)
class Reference:
    """A repository of a registry, and perhaps which image of it."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def host(self) -> str:
        """Where the registry answers; Docker Hub's name is not its address."""
        return _HUB_HOST if self.registry == HUB else self.registry

    @property
    def name(self) -> str:
        """Without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def wanted(self) -> str:
        """What a registry is asked for: the digest if there is one, else the tag; empty if there is neither."""
        return self.digest or self.tag

    def tagged(self, tag: str) -> Reference:
        """The same repository under `tag`.

        Raises:
            UsageError: no registry takes such a tag.
        """
        if not _TAG.fullmatch(tag):
            raise UsageError(
                f"{tag!r} cannot be a tag.",
                why="A tag is at most 128 letters, digits, `_`, `.` and `-`.",
            )
        return replace(self, tag=tag, digest="")

    def at(self, digest: str) -> Reference:
        """The same repository at `digest`."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Read a name.

    Raises:
        UsageError: it is none.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _not_a_name(text, "After @ stands sha256: and 64 lower-case hexadecimal digits.")
    colon = rest.rfind(":")
    tag = ""
    if colon > rest.rfind("/"):
        rest, tag = rest[:colon], rest[colon + 1 :]
        if not _TAG.fullmatch(tag):
            raise _not_a_name(text, f"{tag!r} is no tag.")
    first, slash, others = rest.partition("/")
    if slash and (any(sign in first for sign in ".:") or first == "localhost"):
        registry, repository = first, others
    else:
        registry, repository = HUB, rest
    registry = registry.lower()  # a host's name; rules that are looked up by it must not miss a capital letter
    if registry in _HUB_NAMES:
        registry = HUB
        repository = repository if "/" in repository else f"library/{repository}"
    if not _REGISTRY.fullmatch(registry):
        raise _not_a_name(text, f"{registry!r} is no registry.")
    if not _REPOSITORY.fullmatch(repository):
        raise _not_a_name(text, "A repository is lower-case letters and digits, with `.`, `_`, `-` or `/` between.")
    if len(registry) + 1 + len(repository) > _LONGEST_NAME:
        raise _not_a_name(text, f"It is longer than {_LONGEST_NAME} characters.")
    return Reference(registry, repository, tag, digest)


def _not_a_name(text: str, why: str) -> UsageError:
    return UsageError(f"{text!r} does not name an image.", why=why, next_step="for example ghcr.io/owner/name:canary")
