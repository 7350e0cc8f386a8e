"""Evidence about releases in a cluster: signed here of what this very process saw, kept there, and asked for there.

As on hosts (`rollout.proof`), but nothing that others recorded is signed: whoever has the key proves it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from provision.cluster.kept.evidence import Kept
from provision.errors import DeployError, Refused, UsageError
from provision.images.promotion.chain import heads
from provision.images.promotion.evidence import CheckResult, Evidence, Finding, OnHost
from provision.images.promotion.on_hosts import digest_of_release, results
from provision.rollout.proof import against_promotion
from provision.targets.signing import Signing

if TYPE_CHECKING:
    from provision.cluster.kept.wanted import Rendered
    from provision.cluster.project_there import ProjectThere
    from provision.contract.events import Checked


class Proof:
    """Whose evidence counts for a project in a cluster, and who signs here."""

    def __init__(self, there: ProjectThere) -> None:
        self._there = there
        self._began = time.time()
        self._place = f"{there.project.name}/{there.name}/{there.api.namespace}"
        root = there.loaded.root
        self.signing = Signing.beside(root) if (root / "evidence.pub").exists() else None

    def sign(self, channel: str, release: Rendered, checks: list[Checked]) -> None:
        """Sign what the checks of a release saw; what stands in the way is told, and fails nothing."""
        if self.signing is None or not checks:
            return
        try:
            if self.signing.key is None:
                raise UsageError(f"what the checks saw is not signed: {self.signing.why_not}.")
            self.signing.put_at(
                self._place,
                release.id,
                self._kept.read(release.id),
                self._evidence(channel, release, checks),
                lambda text: self._kept.add(release.id, [text]),
            )
        except DeployError as error:
            text = f"{error.what} {error.why}".strip()
            next_ = f"deploy smoke --channel {channel} --sign, where the key is"
            self._there.tell({"event": "warning", "host": self._there.name, "text": f"{text} next: {next_}"})

    def findings(self, release: str) -> list[Finding]:
        """All evidence about a release.

        Raises:
            UsageError: the project has no public keys.
        """
        return self._demanded().findings(release, self._kept.read(release), [self._place])

    def against(self, release: Rendered, found: list[Finding]) -> list[str]:
        """Why it may not be stable."""
        return against_promotion(found, _names(release, "stable"))

    def demand(self, release: Rendered) -> tuple[str, ...]:
        """Go on only if a release may become stable; the evidence that this rests on.

        Raises:
            Refused: something speaks against it.
        """
        found = self.findings(release.id)
        if against := self.against(release, found):
            raise Refused(
                f"release {release.id[:12]} does not become stable.",
                host=self._there.name,
                why=f"Target {self._there.name} requires evidence: {'; '.join(against)}.",
                next_step="deploy evidence show; deploy up --channel canary makes some, where the key is",
                details={"release": release.id, "objections": against},
            )
        return heads(found)

    def rested_on(self, release: str) -> tuple[str, ...]:
        """What a release that goes back rested on, which has to be there and is not judged anew.

        Raises:
            Refused: some of it is gone.
        """
        entries = self._there.book.read().history
        was = next((e for e in reversed(entries) if e.evidence and e.channels.get("stable") == release), None)
        if was is None:
            text = f"{release[:12]} became stable when no evidence was required, and goes back by that"
            self._there.tell({"event": "warning", "host": self._there.name, "text": text})
            return ()
        there = {item.artifact for item in self.findings(release) if item.evidence}
        if gone := [name for name in was.evidence if name not in there]:
            raise Refused(
                f"release {release[:12]} does not become stable.",
                host=self._there.name,
                why=f"Evidence {gone[0][:19]}, which it rested on, is gone.",
                next_step="deploy evidence show",
            )
        return was.evidence

    @property
    def _kept(self) -> Kept:
        return Kept(self._there.api, self._there.project.name)

    def _demanded(self) -> Signing:
        if self.signing is None:
            raise UsageError(
                f"{self._there.loaded.root / 'evidence.pub'} is missing.",
                why="It holds the public keys whose evidence counts.",
                next_step="deploy image keys init, and commit the public half",
            )
        return self.signing

    def _evidence(self, channel: str, release: Rendered, checks: list[Checked]) -> Evidence:
        there = self._there
        stable = dict(zip(_names(release, channel), _names(release, "stable"), strict=True))
        named: tuple[CheckResult, ...] = results([{**each, "check": stable[each["check"]]} for each in checks])
        began, now = (datetime.fromtimestamp(int(seconds), UTC) for seconds in (self._began, time.time()))
        place = OnHost(
            target=there.name,
            host=there.api.namespace,
            channel=channel,
            began=began,
            hardware={},
            record=uuid4().hex,
        )
        return Evidence(
            name=there.project.name,
            digest=digest_of_release(release.id),
            checks=named,
            at=now,
            who=there.who,
            where=f"namespace {there.api.namespace} of target {there.name}",
            previous=(),
            on_host=place,
        )


def _names(release: Rendered, channel: str) -> list[str]:
    """Checks as they are called in a channel; both have the same, in the same order."""
    return [str(each["check"]["name"]) for each in release.checks[channel]]
