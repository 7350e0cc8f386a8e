"""What lets a release become stable where the target requires evidence, and what stands against it.

Evidence lies on the hosts that made it and on those that were let by it. So all hosts of the target are asked, and what
one of them proved counts for the others: the release is the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from provision.contract.answers import Done
from provision.errors import DeployError, Refused, UsageError
from provision.hosts import HostResult, HostSpec, run_on_hosts
from provision.rollout.hosts import apart, values
from provision.targets import Deployment, HostConversation, open_session

if TYPE_CHECKING:
    from provision.contract.evidence import Kept
    from provision.images.promotion.evidence import Evidence, Finding
    from provision.plan import Plan
    from provision.targets.signing import Signing


@dataclass(frozen=True)
class Known:
    """What the hosts of a target have of evidence."""

    signing: Signing
    kept: Mapping[str, Mapping[str, Kept]]  # host -> release -> what it has
    places: Sequence[str]  # the hosts that answered

    def findings(self, release: str) -> list[Finding]:
        """All evidence about `release`, whichever host has it."""
        return self.signing.findings(release, self.envelopes(release), self.places)

    def envelopes(self, release: str) -> list[str]:
        """What hosts had when they were asked, and what an earlier one of this very run has by now."""
        there = {text for of in self.kept.values() if release in of for text in of[release]["signed"]}
        return sorted(there | {*self.signing.made.get(release, ())})

    def demand(self, session: HostConversation, plan: Plan) -> tuple[str, ...]:
        """Go on only if `plan` may be carried out; the evidence that it rests on, which its host then has.

        A rollback counts what counted when the release became stable: that has to be there, and is not judged anew.

        Raises:
            Refused: something speaks against it.
        """
        from provision.images.promotion.chain import heads
        from provision.images.registry.documents import digest_of

        if plan.unchanged:
            return ()
        release, found = plan.release, self.findings(plan.release)
        ours = {item.artifact for item in found if item.evidence}
        if plan.rests_on is not None:
            against = [f"evidence {name[:19]}, which it rested on, is gone" for name in {*plan.rests_on} - ours]
            rests_on = plan.rests_on
            if not rests_on:
                text = f"{release[:12]} became stable when no evidence was required, and goes back by that"
                session.deployment.on_event({"event": "warning", "host": session.spec.name, "text": text})
        else:
            against = against_promotion(found, plan.checks)
            rests_on = heads(found)
        if against:
            raise refusal(session.deployment, session.spec.name, release, against)
        # No host is sent what another one made up.
        envelopes = [text for text in self.envelopes(release) if text.isascii() and digest_of(text.encode()) in ours]
        if rests_on and not set(envelopes) <= set(self._on(session.spec.name, release)):
            session.conversation.ask({"op": "keep-evidence", "release": release, "signed": envelopes}, Done)
        return rests_on

    def _on(self, host: str, release: str) -> list[str]:
        return self.kept[host][release]["signed"] if release in self.kept.get(host, {}) else []


def against_promotion(found: Sequence[Finding], checks: Sequence[str]) -> list[str]:
    """Why a release about which `found` is known may not become stable, as sentences without their ends.

    Args:
        checks: what has to have been tried.
    """
    from provision.images.promotion.policy import Policy, objections

    return list(objections(Policy(checks=tuple(checks)), found, since=None, who="", now=datetime.now(UTC)))


def refusal(deployment: Deployment, host: str, release: str, against: Sequence[str]) -> Refused:
    """What is said of a release that may not become stable on a host."""
    return Refused(
        f"release {release[:12]} does not become stable.",
        host=host,
        why=f"Target {deployment.target_name} requires evidence: {'; '.join(against)}.",
        next_step="deploy evidence show; deploy up --channel canary makes some, where the key is",
        details={"release": release, "objections": list(against)},
    )


def known(deployment: Deployment, releases: Sequence[str] = ()) -> Known:
    """Ask all hosts of the target; one that does not answer is told, and what it has does not count.

    Args:
        releases: that are asked about; by default those that each host has.

    Raises:
        UsageError: the project has no public keys.
    """
    from provision.targets.signing import ask_evidence, place_of

    signing = demand_keys(deployment)
    places: list[str] = []

    def look(spec: HostSpec) -> dict[str, Kept]:
        with open_session(deployment, spec) as session:
            found = ask_evidence(session, releases)
            places.append(place_of(session))
            return found

    kept = {}
    for result in run_on_hosts(deployment.hosts, look):
        if result.error is None and result.value is not None:
            kept[result.spec.name] = result.value
        elif isinstance(result.error, DeployError):
            text = f"its evidence does not count: {result.error}"
            deployment.on_event({"event": "warning", "host": result.spec.name, "text": text})
        elif result.error is not None:
            raise result.error
    return Known(signing, kept, places)


def required(deployment: Deployment, channel: str = "stable", *, brought: bool = False) -> Known | None:
    """What is known, where the target requires it for `channel`; None where it requires nothing.

    Args:
        brought: whether it is about the release that is built here, which no host need have.
    """
    if not deployment.target.require or channel != "stable":
        return None
    return known(deployment, [deployment.release.id] if brought else ())


def sign(deployment: Deployment, hosts: Sequence[HostSpec]) -> list[Evidence]:
    """Sign everything that these hosts recorded and nobody signed.

    Raises:
        UsageError: there is no key.
    """
    signing = demand_keys(deployment)
    if signing.key is None:
        raise UsageError(f"nothing is signed: {signing.why_not}.", next_step="set DEPLOY_EVIDENCE_KEY")

    def act(spec: HostSpec) -> list[Evidence]:
        with open_session(deployment, spec, install=True) as session:
            return signing.sign(session)

    return [evidence for made in values(run_on_hosts(hosts, act)) for evidence in made]


def demand_keys(deployment: Deployment) -> Signing:
    """Whose evidence counts.

    Raises:
        UsageError: the project does not say it.
    """
    if deployment.signing is None:
        raise UsageError(
            f"{deployment.loaded.root / 'evidence.pub'} is missing.",
            why="It holds the public keys whose evidence counts.",
            next_step="deploy image keys init, and commit the public half",
        )
    return deployment.signing


@dataclass(frozen=True)
class Verified:
    """What speaks for and against the release in a host's channel."""

    host: str
    release: str
    found: Sequence[Finding]
    unsigned: int  # records that nobody signed
    against: Sequence[str]


def verify(deployment: Deployment, hosts: Sequence[HostSpec], channel: str = "stable") -> list[Verified]:
    """Judge the release that each of `hosts` has in `channel`, as a promotion would; those without one are left out.

    Raises:
        UsageError: the project has no public keys.
        DeployError: a host does not say.
    """
    return [item for item in values(_judged(deployment, hosts, channel)) if item]


def verify_apart(deployment: Deployment, channel: str) -> tuple[list[Verified], dict[str, DeployError]]:
    """As `verify`, of all hosts, for who shows the others beside one that is gone: host -> why it says nothing."""
    found, gone = apart(_judged(deployment, deployment.hosts, channel))
    return [item for item in found if item], gone


def _judged(deployment: Deployment, hosts: Sequence[HostSpec], channel: str) -> list[HostResult[Verified | None]]:
    from provision.images.promotion.on_hosts import recorded
    from provision.targets.transact import checks_of

    proof = known(deployment)

    def look(spec: HostSpec) -> Verified | None:
        with open_session(deployment, spec) as session:
            project = session.facts({"documents": [channel]})["project"]
        release = project["state"].get("channels", {}).get(channel)
        if release is None:
            return None
        found = proof.findings(release)
        records = proof.kept.get(spec.name, {}).get(release, {"records": [], "signed": []})["records"]
        unsigned = {record["transaction"] for record in records} - recorded(found)
        against = against_promotion(found, checks_of(project["documents"][release]))
        return Verified(spec.name, release, found, len(unsigned), against)

    return run_on_hosts(hosts, look)
