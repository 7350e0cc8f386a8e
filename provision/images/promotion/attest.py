"""Evidence goes beside an image: after all that is there, which it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from provision.images.promotion.chain import findings, heads
from provision.images.promotion.evidence import Evidence, Finding, store
from provision.images.promotion.seen import Seen
from provision.images.promotion.signing import PublicKey, SigningKey
from provision.images.registry.repository import Repository


def attest(
    repository: Repository, evidence: Evidence, key: SigningKey, trusted: Sequence[PublicKey], seen: Seen
) -> tuple[str, list[Finding]]:
    """Sign `evidence` as what comes next beside its image; `evidence.anew`: as the first.

    Returns:
        The digest of the artifact, and what was there and is lost.

    Raises:
        RegistryFailed: there is no such image, or the registry did not take it.
    """
    image = repository.get(evidence.digest)
    name = f"{repository}@{image.digest}"
    known = seen.beside(name)
    there = [] if evidence.anew else findings(repository, image.digest, trusted, known)
    lost = [item for item in there if item.lost and item.blocks]
    # What this machine alone knows to be lost is named, so that others miss it as well.
    previous = (*heads(there), *(item.artifact for item in lost if item.artifact in known))
    artifact = store(repository, image, replace(evidence, previous=previous), key)
    seen.saw_evidence(name, {artifact: evidence.at})
    return artifact, lost
