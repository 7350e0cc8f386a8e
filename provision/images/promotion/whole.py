"""All that a registry has of one image: what stands there, what was proven of it, and which channel came to it how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provision.errors import RegistryFailed
from provision.images.promotion.chain import findings
from provision.images.promotion.history import Move, read_history
from provision.images.promotion.seen import Seen
from provision.images.registry.architectures import ARCHITECTURES
from provision.images.registry.documents import ImageManifest, Malformed
from provision.images.registry.labels import labels
from provision.images.registry.repository import Repository, connect

if TYPE_CHECKING:
    from provision.images.promotion.evidence import Finding
    from provision.images.promotion.history import History
    from provision.images.promotion.signing import PublicKey
    from provision.images.registry.reference import Reference


@dataclass(frozen=True)
class OfImage:
    """What is known of one digest.

    Attributes:
        channels: those that stand for it now, each with its history.
        labels: what it says of itself, by its builder.
    """

    name: str
    digest: str
    findings: Sequence[Finding]
    channels: Mapping[str, History]
    labels: Mapping[str, str] = field(default_factory=dict)

    def move(self, channel: str) -> Move | None:
        """The signed move that brought the channel to it, where it is the last one."""
        moves = self.channels[channel].moves
        return moves[-1] if moves and moves[-1].new == self.digest else None


def of_image(reference: Reference, channels: Sequence[str], trusted: Sequence[PublicKey]) -> OfImage:
    """Ask the registry.

    Args:
        channels: tags that may stand for it.

    Raises:
        RegistryFailed, Refused: it does not say.
    """
    repository, seen = connect(reference, write=False), Seen.read()
    manifest = repository.get(reference.wanted)
    known: dict[str, History] = {}
    resting = seen.beside(f"{repository}@{manifest.digest}")
    for channel in dict.fromkeys((*channels, *filter(None, [reference.tag]))):
        there = repository.find(channel)
        if there is not None and there.digest == manifest.digest:
            known[channel] = read_history(repository, channel, trusted, seen)
            resting |= known[channel].resting_on(manifest.digest)
    found = findings(repository, manifest.digest, trusted, resting)
    return OfImage(reference.name, manifest.digest, found, known, _labels(repository, manifest))


def _labels(repository: Repository, manifest: ImageManifest) -> dict[str, str]:
    """Of an index, those of the first kind of machine that it has: all are built of one revision."""
    for machine in ARCHITECTURES:
        try:
            return labels(repository, manifest, machine)
        except Malformed:
            return {}
        except RegistryFailed:
            continue
    return {}
