"""Which evidence counts: all of it, or none where a piece is missing.

Who may push can delete what speaks against an image. So evidence names the evidence that its signer saw, as a commit
names its parents: two who sign at once both come after the same, and the next names both. What is named and not there
is missed. So is what this machine saw, and what a signed move rested on; nothing else tells that the newest is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from provision.errors import RegistryFailed
from provision.images.promotion.evidence import ARTIFACT_TYPE, Evidence, Finding, read_finding
from provision.images.promotion.signing import PublicKey
from provision.images.registry.documents import CREATED, read_time
from provision.images.registry.referrers import referrers
from provision.images.registry.repository import Repository
from provision.images.registry.together import together

MOST = 1000  # pieces of evidence for one digest; each is a request
_NEVER = datetime.min.replace(tzinfo=UTC)
_TRY_AGAIN = "try the image again, and sign that with `deploy image attest --anew`"


def findings(
    repository: Repository, digest: str, trusted: Sequence[PublicKey], known: Mapping[str, datetime] | None = None
) -> list[Finding]:
    """All evidence for `digest`, newest first; what does not count stands last.

    What is named and not listed is asked for by its digest: a list alone can lose an entry to somebody who wrote at the
    same moment.

    Args:
        known: artifacts that were there, and from when they are, or when something rested on them.

    Raises:
        RegistryFailed: the registry does not answer, or there is more than anybody can have signed.
    """
    known = known or {}
    listed = {item.digest: item.annotations.get(CREATED, "") for item in referrers(repository, digest, ARTIFACT_TYPE)}
    read: dict[str, Finding] = {}
    ahead = listed.keys() | known.keys()
    while ahead:
        if len(read) + len(ahead) > MOST:
            raise RegistryFailed(
                f"more than {MOST:,} pieces of evidence belong to {repository}@{digest}.",
                why="Whoever may push can put any number there, and each has to be read.",
                next_step="delete those that are not yours, or build the image anew",
            )
        found = together(*[partial(read_finding, repository, item, digest, trusted) for item in sorted(ahead)])
        read.update((item.artifact, item) for item in found)
        ahead = {name for item in found if item.evidence for name in item.evidence.previous or ()} - read.keys()
    return chained(list(read.values()), listed, known)


def chained(
    read: Sequence[Finding], listed: Mapping[str, str], known: Mapping[str, datetime], *, again: str = _TRY_AGAIN
) -> list[Finding]:
    """What each of `read` is as a part of the whole. Pure.

    Args:
        listed: what the registry lists, and when the list says that it was made.
        known: as `findings` takes it.
        again: how one goes on where something is missed.
    """
    begun = max((item.evidence.at for item in read if item.evidence and item.evidence.anew), default=_NEVER)
    begins = {item.artifact for item in read if item.evidence and item.evidence.anew and item.evidence.at == begun}

    def is_later(evidence: Evidence) -> bool:
        if evidence.at != begun or evidence.anew:
            return evidence.at >= begun
        return not begins.isdisjoint(evidence.previous or ())  # times are in seconds

    named = {
        name: item.artifact
        for item in read
        if item.evidence and is_later(item.evidence)
        for name in item.evidence.previous or ()
    }

    def judged(item: Finding) -> Finding:
        if item.evidence and not is_later(item.evidence):
            return replace(item, problem="is from before evidence was begun anew")
        if item.evidence and item.evidence.previous is None and item.artifact not in named:
            why = "was signed by an older version, which names nothing before it; `deploy image attest` takes it in"
            return replace(item, problem=why, blocks=True)
        if not item.lost:
            return item
        why = _missed_by(item.artifact)
        return replace(item, problem=f"{item.problem}, {why}; {again}", blocks=True) if why else item

    def _missed_by(artifact: str) -> str:
        if artifact in named:
            return f"and {named[artifact][:19]} comes after it"
        if artifact in known and known[artifact] > begun:
            return f"and was there (it is known from {known[artifact]:%Y-%m-%d %H:%M} UTC)"
        if artifact in listed and _made(listed[artifact]) > begun:
            return "although it is listed"
        return ""

    found = [judged(item) for item in read]
    # What only evidence names that is set aside is nobody's business.
    found = [item for item in found if item.blocks or not item.lost or item.artifact in listed]
    return sorted(found, key=lambda item: item.evidence.at if item.counts and item.evidence else _NEVER, reverse=True)


def heads(found: Sequence[Finding]) -> tuple[str, ...]:
    """The artifacts that nothing comes after: naming these names all that counts, or would."""
    whole = [item for item in found if item.evidence and (item.counts or item.blocks)]
    named = {name for item in whole if item.evidence for name in item.evidence.previous or ()}
    return tuple(sorted(item.artifact for item in whole if item.artifact not in named))


def _made(written: str) -> datetime:
    """What an entry that says nothing of use was made at: after all else."""
    try:
        return read_time(written)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
