"""`deploy promote`: what the canary proved, to all hosts; `:stable` of its images first, where the target says so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provision import rollout
from provision.cli.session import declared_targets
from provision.errors import DeployError

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.targets import HostOutcome


def promote_canary(session: Session) -> list[HostOutcome]:
    """Bring what the canary proved to stable: first `:stable` of its images, then the hosts, which take exactly that.

    Raises:
        Refused: something speaks against it, in the registry or on a host; and as `rollout.promote`.
        RegistryFailed: the registry did not take part; no host was asked.
    """
    if declared_targets(session.directory).get(session.target, {}).get("channel_from"):
        session.demand_secrets()  # hosts that had no canary are deployed to
    deployment = session.deployment
    canary = rollout.canary(deployment, session.hosts) if deployment.target.channel_from else None
    moved = _move_stable(session, canary) if canary else []
    try:
        with session.interruptible() as interrupt:
            return rollout.promote(deployment, interrupt, session.hosts, take=canary.release if canary else "")
    except DeployError:
        for name in moved:
            session.console.note(f"{name}:stable is what the canary proved; back again: deploy image rollback {name}")
        raise


def _move_stable(session: Session, canary: rollout.Canary) -> list[str]:
    from provision.cli.channels import CANARY, STABLE, carry_out, judge
    from provision.images import connect
    from provision.images.promotion.declared import policy_of
    from provision.images.promotion.move import plan_promotion
    from provision.images.promotion.policy import Policy
    from provision.images.promotion.signing import own_key
    from provision.targets.following import declared

    loaded, target, key = session.deployment.loaded, session.deployment.target_name, own_key(None)
    plans = []
    for name, digest in declared(canary.images, loaded.project, session.deployment.target).items():
        decides = judge(loaded.root, policy_of(loaded.root, name) or Policy(), None, key)
        repository = connect(name, write=True)
        # The canary's tag tells since when it is there; it may have moved on, and what was proven is the digest.
        origin = CANARY if repository.digest(CANARY) == digest else digest
        plan = plan_promotion(repository, origin, repository, STABLE, decides)
        places = (item.evidence.on_host for item in plan.found if item.evidence and item.counts)
        if not any(place and place.target == target for place in places):
            against = (*plan.objections, f"no host of target {target} proved it")
            plan = replace(plan, objections=against)
        plans.append((plan, decides))
    for plan, decides in plans:  # all of them or none
        if plan.objections and not plan.is_needless:
            carry_out(session, plan, decides, dry_run=True)
    for plan, decides in plans:
        carry_out(session, plan, decides, dry_run=False)
    return [str(plan.target) for plan, _ in plans]
