"""What hosts recorded becomes evidence where the project's key is: on a laptop, or in CI. Hosts never hold it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from provision.contract.answers import Done, EvidenceKept
from provision.errors import DeployError, UsageError
from provision.images import connect
from provision.images.promotion.attest import attest
from provision.images.promotion.chain import heads
from provision.images.promotion.evidence import Evidence, Finding, signed
from provision.images.promotion.on_hosts import digest_of_release, evidence_of, findings_on_hosts, recorded
from provision.images.promotion.seen import Seen
from provision.images.promotion.signing import PublicKey, SigningKey, default_private, own_key, read_public
from provision.images.registry.documents import digest_of
from provision.targets.following import declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from provision.contract.evidence import Kept
    from provision.images import Reference
    from provision.targets.host import HostConversation

_LONGEST = 4 << 20  # bytes of an envelope: a hundred checks with all that they saw have a few hundred kB


@dataclass
class Signing:
    """Whose evidence counts for a project, and who signs it here."""

    trusted: Sequence[PublicKey]
    key: SigningKey | None  # None: nobody here
    why_not: str = ""
    seen: Seen = field(default_factory=Seen.read)
    made: dict[str, list[str]] = field(default_factory=dict)  # release -> what was signed here, and is on some host
    _one: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def beside(cls, root: Path) -> Signing:
        """By evidence.pub in `root`, and the key that this machine has.

        Raises:
            UsageError: one of them can't be read.
        """
        trusted = read_public(root / "evidence.pub")
        if not (os.environ.get("DEPLOY_EVIDENCE_KEY") or default_private().exists()):
            return cls(trusted, None, "there is no key here")
        key = own_key(None)
        if key.public.id not in {public.id for public in trusted}:
            return cls(trusted, None, f"the key {key.public.id} that is here is not in evidence.pub")
        return cls(trusted, key)

    def findings(self, release: str, envelopes: Iterable[str], places: Iterable[str]) -> list[Finding]:
        """All evidence about `release`; what this machine saw at `places`, hosts that were asked, is missed."""
        known: dict[str, datetime] = {}
        for place in places:
            known |= self.seen.beside(f"{place}@sha256:{release}")
        return findings_on_hosts(release, envelopes, self.trusted, known)

    def sign_if_it_can(self, session: HostConversation, release: str, images: Mapping[str, str]) -> None:
        """Sign what was just recorded about `release`, which was made of `images`.

        What stands in the way is told, and fails nothing.
        """
        try:
            if self.key is None:
                raise UsageError(f"what the checks saw is recorded, and not signed: {self.why_not}.")
            self.sign(session, [release], images)
        except DeployError as error:
            text = f"{error.what} {error.why}".strip()
            next_ = "deploy evidence sign, where the key is"
            session.deployment.on_event(
                {"event": "warning", "host": session.spec.name, "text": f"{text} next: {next_}"}
            )

    def sign(
        self, session: HostConversation, releases: Sequence[str] = (), images: Mapping[str, str] | None = None
    ) -> list[Evidence]:
        """Sign what a host recorded about these releases, or all, and nobody signed yet; it is kept there.

        Where the target takes its channels from the registry, it goes beside the images as well.

        Args:
            images: what was followed to these releases; None where the host alone knows.

        Raises:
            UsageError: there is no key, or as `put`.
            RegistryFailed: a registry did not take it; the host has it.
        """
        made = []
        for release, kept in ask_evidence(session, releases).items():
            done = recorded(self.findings(release, kept["signed"], [place_of(session)]))
            for record in kept["records"]:
                if record["transaction"] in done or record["release"] != release:
                    continue
                deployment = session.deployment
                evidence = evidence_of(
                    record, deployment.loaded.project.name, deployment.target_name, session.spec.name, ()
                )
                made.append(self.put(session, release, kept, evidence))
                if deployment.target.channel_from:
                    said = record.get("images", {}) if images is None else images
                    self._beside_images(evidence, declared(said, deployment.loaded.project, deployment.target))
        return made

    def put(self, session: HostConversation, release: str, kept: Kept, evidence: Evidence) -> Evidence:
        """Sign `evidence` as what comes next on a host that has `kept`, and keep it there.

        Raises:
            UsageError: there is no key, or it is larger than any that a check makes.
        """

        def keep(text: str) -> None:
            session.conversation.ask({"op": "keep-evidence", "release": release, "signed": [text]}, Done)

        evidence, text = self.put_at(place_of(session), release, kept["signed"], evidence, keep)
        kept["signed"].append(text)
        return evidence

    def put_at(
        self, place: str, release: str, envelopes: Sequence[str], evidence: Evidence, keep: Callable[[str], None]
    ) -> tuple[Evidence, str]:
        """Sign `evidence` as what comes next at a place that has `envelopes`; as it is then, and its envelope.

        Args:
            keep: puts it there, before this machine remembers it.

        Raises:
            UsageError: as `put`.
        """
        if self.key is None:
            raise UsageError(
                f"evidence is not signed: {self.why_not}.", next_step="deploy image keys init, or DEPLOY_EVIDENCE_KEY"
            )
        found = self.findings(release, envelopes, [place])
        lost = tuple(item.artifact for item in found if item.lost and item.blocks)
        evidence = replace(evidence, previous=() if evidence.anew else (*heads(found), *lost))
        text = signed(evidence, self.key).decode()
        if len(text) > _LONGEST:
            raise UsageError(
                f"what was recorded at {place} about release {release[:12]} is not signed.",
                why=f"It takes {len(text) >> 20} MiB, and whoever reads evidence reads {_LONGEST >> 20} MiB at most.",
                next_step="deploy smoke --sign",
            )
        keep(text)
        with self._one:
            self.made.setdefault(release, []).append(text)
            self.seen.saw_evidence(f"{place}@sha256:{release}", {digest_of(text.encode()): evidence.at})
            self.seen.save()
        return evidence, text

    def _beside_images(self, evidence: Evidence, images: Mapping[Reference, str]) -> None:
        assert self.key is not None  # noqa: S101  it signed already
        for name, digest in images.items():
            about = replace(evidence, name=name.name, digest=digest)
            with self._one:
                attest(connect(name, write=True), about, self.key, self.trusted, self.seen)
                self.seen.save()


def ask_evidence(session: HostConversation, releases: Sequence[str] = ()) -> dict[str, Kept]:
    """What a host has about these releases, or about all that it has; what it says of others is passed over."""
    told = session.conversation.ask({"op": "evidence", "releases": list(releases)}, EvidenceKept)["releases"]
    return {name: kept for name, kept in told.items() if digest_of_release(name) and name in (releases or told)}


def place_of(session: HostConversation) -> str:
    """What a host of a target is called where it is remembered what was seen there."""
    deployment = session.deployment
    return f"{deployment.loaded.project.name}/{deployment.target_name}/{session.spec.name}"
